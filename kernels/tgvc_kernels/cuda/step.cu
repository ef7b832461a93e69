// Kernels of a sampler's step: formulas in step.cuh and spread.cuh, shapes in tgvc_kernels/latent_reference.py.
// step_factor is launched cooperatively with 32 blocks; with it a guided step is two launches, without it one.
// guided_step_at finds its arguments on the device, so that a recorded graph can be another step every time.
#include "spread.cuh"
#include "step.cuh"

using tgvc::u32;

#define TGVC_DEFINE(suffix, S)                                                                                        \
    TGVC_KERNEL(step_factor_##suffix)                                                                                 \
    (const S* v, const S* u, tgvc::SpreadWork* work, float* factor, double rescale, float scale, u32 size) {          \
        tgvc::step_factor(v, u, work, factor, rescale, scale, size);                                                  \
    }                                                                                                                 \
    TGVC_LISTED(step_factor_##suffix)                                                                                 \
    TGVC_KERNEL(predict_clean_##suffix)                                                                               \
    (const S* x, const S* v, const S* u, const float* factor, S* clean, S* o, float signal, float spread,             \
     float clean_scale, float scale, u32 size) {                                                                      \
        tgvc::predict_clean(                                                                                          \
            TGVC_THREAD, x, v, u, factor, clean, o, signal, spread, clean_scale, scale, size);                        \
    }                                                                                                                 \
    TGVC_LISTED(predict_clean_##suffix)                                                                               \
    TGVC_KERNEL(sampler_step_##suffix)                                                                                \
    (const S* x, const S* v, const S* clean, const S* earlier, const S* noise, const S* gradient, S* out,             \
     tgvc::Weights weights, u32 size) {                                                                               \
        tgvc::sampler_step(TGVC_THREAD, x, v, clean, earlier, noise, gradient, out, weights, size);                   \
    }                                                                                                                 \
    TGVC_LISTED(sampler_step_##suffix)                                                                                \
    TGVC_KERNEL(guided_step_##suffix)(const tgvc::Step step) { tgvc::guided_step<S>(TGVC_THREAD, step); }             \
    TGVC_LISTED(guided_step_##suffix)                                                                                 \
    TGVC_KERNEL(guided_step_at_##suffix)(const tgvc::Step* step) {                                                    \
        const tgvc::Step here = *step; /* a copy, as what is written could be part of it */                           \
        tgvc::guided_step<S>(TGVC_THREAD, here);                                                                      \
    }                                                                                                                 \
    TGVC_LISTED(guided_step_at_##suffix)

TGVC_FOR_EACH_TYPE(TGVC_DEFINE)
#undef TGVC_DEFINE
