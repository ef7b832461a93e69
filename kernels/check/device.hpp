// Memory and launches of the check on a GPU. The library is another binary beside the emulated kernels: it is asked for
// its kernels through `device_launch`, which kernels/check/device.cpp makes of the real CUDA runtime.
#pragma once
#include <stdexcept>
#include <string>
#include <vector>

namespace tgvc_check {

std::string missing_device();
void* device_memory(const void* content, std::size_t size);
void device_free(void* memory);
void device_read(void* to, const void* from, std::size_t size);
void device_launch(const char* kernel, unsigned blocks, unsigned threads, bool cooperative, void** arguments);

struct Device {
    std::vector<void*> memory;
    std::vector<std::size_t> sizes;

    ~Device() { clear(); }
    void clear() {
        for (void* one : memory) device_free(one);
        memory.clear(), sizes.clear();
    }
    template <class Buffers> void upload(const Buffers& buffers) {
        clear();
        for (const auto& buffer : buffers) {
            memory.push_back(device_memory(buffer.before.data(), buffer.before.size()));
            sizes.push_back(buffer.before.size());
        }
    }
    void* address(std::size_t n) { return memory[n]; }
    template <class Launch> void launch(const Launch& launch, void** arguments) {
        device_launch(launch.kernel.c_str(), launch.blocks, launch.threads, launch.cooperative != 0, arguments);
    }
    std::vector<unsigned char> download(std::size_t n) {
        std::vector<unsigned char> content(sizes[n]);
        device_read(content.data(), memory[n], sizes[n]);
        return content;
    }
};

}  // namespace tgvc_check
