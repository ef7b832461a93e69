// Kernels between RGB and I420: formulas in colour.cuh, shapes in tgvc_kernels/picture_reference.py.
#include "colour.cuh"

using tgvc::u32;
using tgvc::u8;

#define TGVC_DEFINE(suffix, S)                                                                                     \
    TGVC_KERNEL(rgb_to_yuv_##suffix)                                                                               \
    (const S* rgb, u8* pictures, tgvc::Colour colour, u32 count, u32 h, u32 w) {                                   \
        tgvc::rgb_to_yuv(TGVC_THREAD, rgb, pictures, colour, count, h, w);                                         \
    }                                                                                                              \
    TGVC_LISTED(rgb_to_yuv_##suffix)                                                                               \
    TGVC_KERNEL(yuv_to_rgb_##suffix)                                                                               \
    (const u8* pictures, S* rgb, tgvc::Colour colour, u32 count, u32 h, u32 w) {                                   \
        tgvc::yuv_to_rgb(TGVC_THREAD, pictures, rgb, colour, count, h, w);                                         \
    }                                                                                                              \
    TGVC_LISTED(yuv_to_rgb_##suffix)

TGVC_FOR_EACH_TYPE(TGVC_DEFINE)
#undef TGVC_DEFINE
