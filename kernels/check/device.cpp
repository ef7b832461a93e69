// The check's way to a GPU: the CUDA runtime and the installed library, nothing of the emulated device.
#include <cuda_runtime.h>

#include "device.hpp"
#include "tgvc_kernels.h"

namespace tgvc_check {

static void check(cudaError_t code) {
    if (code != cudaSuccess) throw std::runtime_error(cudaGetErrorString(code));
}

std::string missing_device() {
    int count = 0;
    const cudaError_t code = cudaGetDeviceCount(&count);
    if (code != cudaSuccess) return cudaGetErrorString(code);
    return count ? "" : "no CUDA device";
}

void* device_memory(const void* content, std::size_t size) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, size ? size : 1));
    check(cudaMemcpy(memory, content, size, cudaMemcpyHostToDevice));
    return memory;
}

void device_free(void* memory) { cudaFree(memory); }

void device_read(void* to, const void* from, std::size_t size) {
    check(cudaDeviceSynchronize());
    check(cudaMemcpy(to, from, size, cudaMemcpyDeviceToHost));
}

void device_launch(const char* kernel, unsigned blocks, unsigned threads, bool cooperative, void** arguments) {
    const void* function = tgvc_kernel(kernel);
    if (!function) throw std::runtime_error(std::string("there is no kernel ") + kernel);
    const dim3 grid(blocks), block(threads);
    check(
        cooperative ? cudaLaunchCooperativeKernel(function, grid, block, arguments, 0, nullptr)
                    : cudaLaunchKernel(function, grid, block, arguments, 0, nullptr));
}

}  // namespace tgvc_check
