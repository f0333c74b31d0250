// What a kernel includes for __nv_bfloat16: all of it is in cuda_emulation.h, which every kernel is compiled with.
#pragma once
