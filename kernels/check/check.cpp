// Runs the kernels on inputs that Python recorded and compares their outputs with what its reference gave.
//
//   tgvc_kernels_check vectors.bin            the text of the kernels on this CPU, thread by thread
//   tgvc_kernels_check --device vectors.bin   the library on a GPU (only in builds with CUDA); exit 77: there is none
//
// Format of the vectors, little-endian, strings and blobs preceded by their length as u32: "TGVCVEC1", cases. A case:
// name, buffers, launches. A buffer: u8 (0 input, 1 u8, 2 float32, 3 float16, 4 bfloat16 output; 128 more: its content
// is one byte repeated, given as u32 size and u8), float32 tolerance, content before, and for outputs content after. A launch: kernel, u32 blocks, u32 threads, u8 cooperative, arguments. An
// argument: its bytes, and the pointers in it as (u32 offset, u32 buffer).
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "../library/kernels.hpp"  // emulated: this file is for the host compiler

#if defined(TGVC_CHECK_DEVICE)
#include "device.hpp"
#endif

namespace {

typedef std::vector<unsigned char> Bytes;

struct Buffer {
    unsigned char kind;
    float tolerance;
    Bytes before, after;
};

struct Argument {
    Bytes bytes;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> pointers;
};

struct Launch {
    std::string kernel;
    std::uint32_t blocks, threads;
    unsigned char cooperative;
    std::vector<Argument> arguments;
};

struct Case {
    std::string name;
    std::vector<Buffer> buffers;
    std::vector<Launch> launches;
};

class Reader {
  public:
    explicit Reader(Bytes content) : content_(std::move(content)) {}

    template <class Number> Number number() {
        Number value;
        std::memcpy(&value, take(sizeof value), sizeof value);
        return value;
    }

    Bytes blob() {
        const std::uint32_t size = number<std::uint32_t>();
        const unsigned char* start = take(size);
        return Bytes(start, start + size);
    }

    std::string text() {
        const Bytes bytes = blob();
        return std::string(bytes.begin(), bytes.end());
    }

    const unsigned char* take(std::size_t size) {
        if (content_.size() - at_ < size) throw std::runtime_error("the vectors end too early");
        at_ += size;
        return content_.data() + at_ - size;
    }

    bool done() const { return at_ == content_.size(); }

  private:
    Bytes content_;
    std::size_t at_ = 0;
};

std::vector<Case> read_cases(const char* path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(std::string(path) + " cannot be read");
    Reader in(Bytes(std::istreambuf_iterator<char>(file), {}));
    if (std::memcmp(in.take(8), "TGVCVEC1", 8) != 0) throw std::runtime_error("these are no vectors");
    std::vector<Case> cases(in.number<std::uint32_t>());
    for (Case& one : cases) {
        one.name = in.text();
        one.buffers.resize(in.number<std::uint32_t>());
        for (Buffer& buffer : one.buffers) {
            const unsigned char kind = in.number<unsigned char>();
            buffer.kind = kind & 0x7f;
            buffer.tolerance = in.number<float>();
            if (kind & 0x80) {
                const std::uint32_t size = in.number<std::uint32_t>();
                buffer.before.assign(size, in.number<unsigned char>());
            } else {
                buffer.before = in.blob();
            }
            if (buffer.kind) buffer.after = in.blob();
        }
        one.launches.resize(in.number<std::uint32_t>());
        for (Launch& launch : one.launches) {
            launch.kernel = in.text();
            launch.blocks = in.number<std::uint32_t>();
            launch.threads = in.number<std::uint32_t>();
            launch.cooperative = in.number<unsigned char>();
            launch.arguments.resize(in.number<std::uint32_t>());
            for (Argument& argument : launch.arguments) {
                argument.bytes = in.blob();
                argument.pointers.resize(in.number<std::uint32_t>());
                for (auto& pointer : argument.pointers) {
                    pointer.first = in.number<std::uint32_t>();
                    pointer.second = in.number<std::uint32_t>();
                    if (pointer.first + 8 > argument.bytes.size() || pointer.second >= one.buffers.size()) {
                        throw std::runtime_error("a pointer of the vectors leads nowhere");
                    }
                }
            }
        }
    }
    if (!in.done()) throw std::runtime_error("the vectors go on behind their end");
    return cases;
}

float value_of(const Buffer& buffer, const Bytes& bytes, std::size_t n) {
    tgvc::u16 half;
    float single;
    switch (buffer.kind) {
        case 1: return bytes[n];
        case 2: return std::memcpy(&single, &bytes[4 * n], 4), single;
        case 3: return std::memcpy(&half, &bytes[2 * n], 2), tgvc::load(tgvc::half{half});
        default: return std::memcpy(&half, &bytes[2 * n], 2), tgvc::load(tgvc::bfloat{half});
    }
}

// Empty, or where the first number that is too far off is.
std::string compare(const Buffer& buffer, const Bytes& found) {
    const std::size_t width = buffer.kind == 1 ? 1 : buffer.kind == 2 ? 4 : 2;
    for (std::size_t n = 0; n < found.size() / width; ++n) {
        const float got = value_of(buffer, found, n), want = value_of(buffer, buffer.after, n);
        if (std::abs(got - want) <= buffer.tolerance || (got == want)) continue;
        char text[160];
        std::snprintf(text, sizeof text, "number %zu is %.9g, expected %.9g within %g", n, got, want, buffer.tolerance);
        return text;
    }
    return "";
}

struct HostDevice {
    std::vector<Bytes> memory;

    void upload(const std::vector<Buffer>& buffers) {
        memory.clear();
        for (const Buffer& buffer : buffers) memory.push_back(buffer.before);
    }
    void* address(std::size_t n) { return memory[n].data(); }
    void launch(const Launch& launch, void** arguments) {
        const tgvc_check::Listed* kernel = tgvc_check::Listed::find(launch.kernel.c_str());
        if (!kernel) throw std::runtime_error("there is no kernel " + launch.kernel);
        tgvc_check::Emulator::get().launch(*kernel, launch.blocks, launch.threads, launch.cooperative != 0, arguments);
    }
    Bytes download(std::size_t n) { return memory[n]; }
};

template <class Device> unsigned run(const std::vector<Case>& cases, Device& device) {
    unsigned failed = 0;
    for (const Case& one : cases) {
        device.upload(one.buffers);
        for (const Launch& launch : one.launches) {
            std::vector<Bytes> arguments;
            std::vector<void*> pointers;
            for (const Argument& argument : launch.arguments) {
                // structures of eight-byte members must lie where these may
                arguments.push_back(argument.bytes);
                for (const auto& pointer : argument.pointers) {
                    void* address = device.address(pointer.second);
                    std::memcpy(&arguments.back()[pointer.first], &address, sizeof address);
                }
            }
            for (Bytes& argument : arguments) pointers.push_back(argument.data());
            device.launch(launch, pointers.data());
        }
        std::string fault;
        for (std::size_t n = 0; n < one.buffers.size() && fault.empty(); ++n) {
            if (one.buffers[n].kind) fault = compare(one.buffers[n], device.download(n));
        }
        if (!fault.empty()) ++failed, std::printf("%s: %s\n", one.name.c_str(), fault.c_str());
    }
    std::printf("%zu cases, %u failed\n", cases.size(), failed);
    return failed;
}

}  // namespace

int main(int count, char** words) {
    const bool on_device = count == 3 && std::string(words[1]) == "--device";
    if (count != 2 && !on_device) return std::fprintf(stderr, "usage: tgvc_kernels_check [--device] vectors.bin\n"), 2;
    try {
        const std::vector<Case> cases = read_cases(words[count - 1]);
        if (!on_device) {
            HostDevice host;
            return run(cases, host) ? 1 : 0;
        }
#if defined(TGVC_CHECK_DEVICE)
        const std::string missing = tgvc_check::missing_device();
        if (!missing.empty()) return std::printf("skipped: %s\n", missing.c_str()), 77;
        tgvc_check::Device device;
        return run(cases, device) ? 1 : 0;
#else
        throw std::runtime_error("this check was built without CUDA");
#endif
    } catch (const std::exception& fault) {
        return std::fprintf(stderr, "tgvc_kernels_check: %s\n", fault.what()), 2;
    }
}
