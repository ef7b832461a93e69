// Kernels on displacement fields: formulas in fields.cuh, shapes in tgvc_kernels/reference.py under the same names.
#include "fields.cuh"

using tgvc::u32;

#define TGVC_DEFINE(suffix, S)                                                                                       \
    TGVC_KERNEL(sample_field_##suffix)                                                                               \
    (const S* field, const S* at, S* out, u32 height, u32 width, u32 count) {                                        \
        tgvc::sample_field(TGVC_THREAD, field, at, out, height, width, count);                                       \
    }                                                                                                                \
    TGVC_LISTED(sample_field_##suffix)                                                                               \
    TGVC_KERNEL(project_##suffix)(const S* flow, S* out, u32 height, u32 width, float tau, u32 iterations) {         \
        tgvc::project(TGVC_THREAD, flow, out, height, width, tau, iterations);                                       \
    }                                                                                                                \
    TGVC_LISTED(project_##suffix)                                                                                    \
    TGVC_KERNEL(shift_##suffix)(const S* field, const S* by, S* out, u32 height, u32 width) {                        \
        tgvc::shift(TGVC_THREAD, field, by, out, height, width);                                                     \
    }                                                                                                                \
    TGVC_LISTED(shift_##suffix)                                                                                      \
    TGVC_KERNEL(densify_##suffix)                                                                                    \
    (const S* centres, const S* values, S* out, u32 count, u32 height, u32 width, float core, float pull) {          \
        tgvc::densify(TGVC_THREAD, centres, values, out, count, height, width, core, pull);                          \
    }                                                                                                                \
    TGVC_LISTED(densify_##suffix)

TGVC_FOR_EACH_TYPE(TGVC_DEFINE)
#undef TGVC_DEFINE
