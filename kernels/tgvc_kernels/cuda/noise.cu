// Kernel of normal noise: formula in noise.cuh, shapes in tgvc_kernels/latent_reference.py under the same name.
#include "noise.cuh"

using tgvc::i64;
using tgvc::u32;

#define TGVC_DEFINE(suffix, S)                                                                             \
    TGVC_KERNEL(normal_noise_##suffix)                                                                     \
    (const i64* frames, S* out, u32 seed, u32 group, u32 draw, u32 channels, u32 count, u32 cells) {       \
        tgvc::normal_noise(TGVC_THREAD, frames, out, seed, group, draw, channels, count, cells);           \
    }                                                                                                      \
    TGVC_LISTED(normal_noise_##suffix)

TGVC_FOR_EACH_TYPE(TGVC_DEFINE)
#undef TGVC_DEFINE
