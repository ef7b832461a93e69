// Kernel of the guidance: formula in guidance.cuh, shapes in tgvc_kernels/latent_reference.py under the same name.
#include "guidance.cuh"

using tgvc::u32;

#define TGVC_DEFINE(suffix, S)                                                                                       \
    TGVC_KERNEL(guidance_gradient_##suffix)                                                                          \
    (const S* z, const S* start, const S* end, S* out, const u32* starts, const u32* entries, u32 channels,          \
     u32 size, u32 start_size, u32 end_size) {                                                                       \
        tgvc::guidance_gradient(                                                                                     \
            TGVC_THREAD, z, start, end, out, starts, entries, channels, size, start_size, end_size);                 \
    }                                                                                                                \
    TGVC_LISTED(guidance_gradient_##suffix)

TGVC_FOR_EACH_TYPE(TGVC_DEFINE)
#undef TGVC_DEFINE
