// Kernels between pictures and planes: formulas in packing.cuh, shapes in tgvc_kernels/picture_reference.py.
#include "packing.cuh"

using tgvc::u32;
using tgvc::u8;

#define TGVC_DEFINE(suffix, S)                                                                           \
    TGVC_KERNEL(pack_planes_##suffix)(const u8* pictures, S* planes, u32 count, u32 h, u32 w) {          \
        tgvc::pack_planes(TGVC_THREAD, pictures, planes, count, h, w);                                   \
    }                                                                                                    \
    TGVC_LISTED(pack_planes_##suffix)                                                                    \
    TGVC_KERNEL(unpack_planes_##suffix)(const S* planes, u8* pictures, u32 count, u32 h, u32 w) {        \
        tgvc::unpack_planes(TGVC_THREAD, planes, pictures, count, h, w);                                 \
    }                                                                                                    \
    TGVC_LISTED(unpack_planes_##suffix)

TGVC_FOR_EACH_TYPE(TGVC_DEFINE)
#undef TGVC_DEFINE
