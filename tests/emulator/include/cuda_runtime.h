// What a kernel includes from the CUDA runtime: all of it is in cuda_emulation.h, which every kernel is compiled with.
#pragma once
