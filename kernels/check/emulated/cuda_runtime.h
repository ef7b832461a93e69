// What the C library uses of the CUDA runtime, for the emulated device.
#pragma once
#include <exception>

#include "emulated.hpp"

typedef struct CUstream_st* cudaStream_t;
typedef enum cudaError { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorLaunchFailure = 719 } cudaError_t;

struct dim3 {
    unsigned x, y, z;
    explicit dim3(unsigned x, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline cudaError_t emulate_launch(const void* function, dim3 grid, dim3 block, void** arguments, bool cooperative) {
    for (const tgvc_check::Listed* kernel = tgvc_check::Listed::first(); kernel; kernel = kernel->next) {
        if (kernel->function != function) continue;
        try {
            tgvc_check::Emulator::get().launch(*kernel, grid.x, block.x, cooperative, arguments);
        } catch (const std::exception&) {
            return cudaErrorLaunchFailure;
        }
        return cudaSuccess;
    }
    return cudaErrorInvalidValue;
}

inline cudaError_t cudaLaunchKernel(
    const void* function, dim3 grid, dim3 block, void** arguments, std::size_t, cudaStream_t) {
    return emulate_launch(function, grid, block, arguments, false);
}

inline cudaError_t cudaLaunchCooperativeKernel(
    const void* function, dim3 grid, dim3 block, void** arguments, std::size_t, cudaStream_t) {
    return emulate_launch(function, grid, block, arguments, true);
}
