// Features moved forwards: formulas in splat.cuh, shapes in tgvc_kernels/reference.py under `splat`.
#include "splat.cuh"

using tgvc::i64;
using tgvc::u32;

#define TGVC_DEFINE(suffix, S)                                                                                       \
    TGVC_KERNEL(splat_clear_##suffix)(i64* sums, u32 count) {                                                        \
        if (TGVC_THREAD < count) sums[TGVC_THREAD] = 0;                                                              \
    }                                                                                                                \
    TGVC_LISTED(splat_clear_##suffix)                                                                                \
    TGVC_KERNEL(splat_add_##suffix)                                                                                  \
    (const S* features, const S* flow, i64* sums, u32 channels, u32 height, u32 width) {                             \
        tgvc::splat_add(TGVC_THREAD, features, flow, sums, channels, height, width);                                 \
    }                                                                                                                \
    TGVC_LISTED(splat_add_##suffix)                                                                                  \
    TGVC_KERNEL(splat_finish_##suffix)(const i64* sums, S* out, u32 channels, u32 cells) {                           \
        tgvc::splat_finish(TGVC_THREAD, sums, out, channels, cells);                                                 \
    }                                                                                                                \
    TGVC_LISTED(splat_finish_##suffix)

TGVC_FOR_EACH_TYPE(TGVC_DEFINE)
#undef TGVC_DEFINE
