// The kernels in a program of one's own: a picture becomes the planes that networks take, in 16 bits, and comes back.
//
// Prints how many px differ and ends with 0 if none does; ends with 77 where there is no GPU.
#include <cuda_runtime.h>
#include <tgvc_kernels.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

static void check(int code, const char* what) {
    if (code == 0) return;
    std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(static_cast<cudaError_t>(code)));
    std::exit(1);
}

int main() {
    std::printf("tgvc_kernels %d\n", tgvc_version());
    if (!tgvc_kernel("pack_planes_f16")) return std::fprintf(stderr, "the library has no kernels\n"), 1;
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) return std::printf("no GPU here\n"), 77;

    const uint32_t h = 160, w = 256;  // of the chroma planes of 512 x 320 px
    std::vector<uint8_t> picture(6 * h * w), again(picture.size());
    for (size_t n = 0; n < picture.size(); ++n) picture[n] = static_cast<uint8_t>(n * 2654435761u >> 24);

    cudaStream_t stream;
    check(cudaStreamCreate(&stream), "stream");
    uint8_t *pictures, *back;
    void* planes;
    check(cudaMalloc(&pictures, picture.size()), "memory");
    check(cudaMalloc(&back, picture.size()), "memory");
    check(cudaMalloc(&planes, 2 * picture.size()), "memory");
    check(cudaMemcpyAsync(pictures, picture.data(), picture.size(), cudaMemcpyHostToDevice, stream), "copy");
    check(tgvc_pack_planes(TGVC_F16, pictures, planes, 1, h, w, stream), "pack");
    check(tgvc_unpack_planes(TGVC_F16, planes, back, 1, h, w, stream), "unpack");
    check(cudaMemcpyAsync(again.data(), back, again.size(), cudaMemcpyDeviceToHost, stream), "copy");
    check(cudaStreamSynchronize(stream), "stream");

    size_t different = 0;
    for (size_t n = 0; n < picture.size(); ++n) different += picture[n] != again[n];
    std::printf("%zu of %zu px differ\n", different, picture.size());
    cudaFree(planes), cudaFree(back), cudaFree(pictures);
    cudaStreamDestroy(stream);
    return different ? 1 : 0;
}
