// The emulated kernels, and the C library on top of them, as a shared library: what the Python tests launch where a GPU
// would be.
#include "../library/tgvc_kernels.cu"

#if defined(_WIN32)
#error "fibers here are those of ucontext.h"
#endif

extern "C" {

// Runs a kernel by name; 0 = done, 1 = no kernel of this name, 2 = it could not end.
int tgvc_emulate(const char* name, unsigned grid, unsigned threads, int cooperative, void** arguments) {
    const tgvc_check::Listed* kernel = tgvc_check::Listed::find(name);
    if (!kernel) return 1;
    try {
        tgvc_check::Emulator::get().launch(*kernel, grid, threads, cooperative != 0, arguments);
    } catch (const std::exception&) {
        return 2;
    }
    return 0;
}

// Name of kernel n, or null behind the last.
const char* tgvc_kernel_name(unsigned n) {
    const tgvc_check::Listed* one = tgvc_check::Listed::first();
    for (; one && n; --n) one = one->next;
    return one ? one->name : nullptr;
}

// Storage conversions on their own, for every bit pattern.
unsigned short tgvc_half_of(float value) { return tgvc::store<tgvc::half>(value).bits; }
float tgvc_float_of_half(unsigned short bits) { return tgvc::load(tgvc::half{bits}); }
unsigned short tgvc_bfloat_of(float value) { return tgvc::store<tgvc::bfloat>(value).bits; }

}  // extern "C"
