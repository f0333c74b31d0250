// What a kernel includes for __half: all of it is in cuda_emulation.h, which every kernel is compiled with.
#pragma once
