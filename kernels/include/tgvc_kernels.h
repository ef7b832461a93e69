/* The CUDA kernels of tgvc as a C library.
 *
 * Pointers are device memory, C-contiguous, of the shapes named; void* is memory of the call's storage type. Latents are
 * (C, T, h, w), fields (h, w, 2) in cells, pictures I420. Every function queues its work on the stream and returns a
 * cudaError_t as an int: 0 is success, 1 (cudaErrorInvalidValue) also says that a size or type is out of range. Nothing
 * is allocated, nothing waits, so all of it may be captured into a graph. Formulas, contracts and the ranges of all
 * arguments: docs/kernels.md and the docstrings of the references in tgvc_kernels, under the same names.
 */
#ifndef TGVC_KERNELS_H
#define TGVC_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(TGVC_KERNELS_BUILD)
#define TGVC_API __declspec(dllexport)
#elif defined(_WIN32)
#define TGVC_API __declspec(dllimport)
#else
#define TGVC_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define TGVC_KERNELS_VERSION 1

typedef struct CUstream_st* tgvc_stream; /* a cudaStream_t; NULL is the default stream */

typedef enum tgvc_type { TGVC_F32 = 0, TGVC_F16 = 1, TGVC_BF16 = 2 } tgvc_type; /* storage; arithmetic is float32 */

/* TGVC_KERNELS_VERSION of the library that is loaded. */
TGVC_API int tgvc_version(void);

/* A kernel for cudaLaunchKernel or a graph's node, by its name in the .cu files, as "warp_f16"; NULL: there is none. */
TGVC_API const void* tgvc_kernel(const char* name);

/* ---- fields: h, w >= 2 cells ---- */

/* field (h, w, 2), at (count, 2) -> out (count, 2) */
TGVC_API int tgvc_sample_field(
    tgvc_type type, const void* field, const void* at, void* out, uint32_t h, uint32_t w, uint32_t count,
    tgvc_stream stream);
/* flow (h, w, 2) -> out (h, w, 2); tau 0..1, iterations >= 1 */
TGVC_API int tgvc_project(
    tgvc_type type, const void* flow, void* out, uint32_t h, uint32_t w, float tau, uint32_t iterations,
    tgvc_stream stream);
/* field, by (h, w, 2) -> out (h, w, 2) */
TGVC_API int tgvc_shift(
    tgvc_type type, const void* field, const void* by, void* out, uint32_t h, uint32_t w, tgvc_stream stream);
/* centres, values (count, 2) -> out (h, w, 2); reach > 0 cells */
TGVC_API int tgvc_densify(
    tgvc_type type, const void* centres, const void* values, void* out, uint32_t count, uint32_t h, uint32_t w,
    double reach, tgvc_stream stream);

/* features (channels, h, w), flow (h, w, 2) -> out (channels + 1, h, w); sums: memory for as many int64, of any content */
TGVC_API int tgvc_splat(
    tgvc_type type, const void* features, const void* flow, int64_t* sums, void* out, uint32_t channels, uint32_t h,
    uint32_t w, tgvc_stream stream);

/* ---- planes: height = s * h and width = s * w for a whole s >= 1 ---- */

/* plane uint8 (height, width), field (h, w, 2) -> out (height, width) */
TGVC_API int tgvc_warp(
    tgvc_type type, const uint8_t* plane, const void* field, void* out, uint32_t height, uint32_t width, uint32_t h,
    uint32_t w, tgvc_stream stream);
/* a, b (2 h, 2 w), trusts (h, w) -> out (h, w); tau 0..1 */
TGVC_API int tgvc_blend_weights(
    tgvc_type type, const void* a, const void* b, const void* trust_a, const void* trust_b, void* out, uint32_t h,
    uint32_t w, float tau, tgvc_stream stream);
/* a, b (height, width), weights (h, w) -> out uint8 (height, width) */
TGVC_API int tgvc_mix(
    tgvc_type type, const void* a, const void* b, const void* weights, uint8_t* out, uint32_t height, uint32_t width,
    uint32_t h, uint32_t w, tgvc_stream stream);

/* ---- pictures: uint8 (count, 3 h, 2 w), h and w being the sides of the chroma planes ---- */

/* pictures -> planes (count, 6, h, w) in -1..1 */
TGVC_API int tgvc_pack_planes(
    tgvc_type type, const uint8_t* pictures, void* planes, uint32_t count, uint32_t h, uint32_t w, tgvc_stream stream);
TGVC_API int tgvc_unpack_planes(
    tgvc_type type, const void* planes, uint8_t* pictures, uint32_t count, uint32_t h, uint32_t w, tgvc_stream stream);
/* rgb (count, 3, 2 h, 2 w) in -1..1 -> pictures; matrix: code of ISO/IEC 23091-2: 1 4 7 9 10, any other is BT.601 */
TGVC_API int tgvc_rgb_to_yuv(
    tgvc_type type, const void* rgb, uint8_t* pictures, int matrix, uint32_t count, uint32_t h, uint32_t w,
    tgvc_stream stream);
TGVC_API int tgvc_yuv_to_rgb(
    tgvc_type type, const uint8_t* pictures, void* rgb, int matrix, uint32_t count, uint32_t h, uint32_t w,
    tgvc_stream stream);

/* ---- latents ---- */

/* frames int64 (count) on the device -> out (channels, count, cells) */
TGVC_API int tgvc_normal_noise(
    tgvc_type type, const int64_t* frames, void* out, uint32_t seed, uint32_t group, uint32_t draw, uint32_t channels,
    uint32_t count, uint32_t cells, tgvc_stream stream);
/* z, out (channels, size); start, end (channels, start_size), (channels, end_size); starts (size + 1); entries (E, 2):
 * 4 * index + weight in halves for the first and for the last reference */
TGVC_API int tgvc_guidance_gradient(
    tgvc_type type, const void* z, const void* start, const void* end, void* out, const uint32_t* starts,
    const uint32_t* entries, uint32_t channels, uint32_t size, uint32_t start_size, uint32_t end_size,
    tgvc_stream stream);

/* Bytes of `work` below; it is zeroed once, when it is made, and belongs to one stream. */
TGVC_API size_t tgvc_work_size(void);
/* v, u (size) -> factor (1): rescale * std(v) / std(u + scale (v - u)) + 1 - rescale. A cooperative launch of 32 blocks. */
TGVC_API int tgvc_step_factor(
    tgvc_type type, const void* v, const void* u, void* work, float* factor, double rescale, float scale, uint32_t size,
    tgvc_stream stream);
/* x, v, u (size) -> clean, o (size); u and factor may be NULL, o too where u is */
TGVC_API int tgvc_predict_clean(
    tgvc_type type, const void* x, const void* v, const void* u, const float* factor, void* clean, void* o,
    float signal, float spread, float clean_scale, float scale, uint32_t size, tgvc_stream stream);
/* weights: six numbers in host memory; earlier, noise, gradient may be NULL */
TGVC_API int tgvc_sampler_step(
    tgvc_type type, const void* x, const void* v, const void* clean, const void* earlier, const void* noise,
    const void* gradient, void* out, const float* weights, uint32_t size, tgvc_stream stream);

/* A whole step; what is absent is NULL or 0. float32 except v, u and network, which are of the call's type. */
typedef struct tgvc_step {
    const float* x;              /* (channels, frames * cells) */
    const void* v;               /* as x: output of the network with its condition */
    const void* u;               /* and without it, or NULL */
    const float* factor;         /* of tgvc_step_factor, or NULL: no rescale */
    const float* earlier;        /* clean estimate of the step before */
    const int64_t* noise_frames; /* (frames): part of the counter; needed with draw, and with held without start */
    const uint8_t* held;         /* (frames): 1 = known */
    const float* held_clean;     /* latents of known frames */
    const float* start;          /* their noise, or NULL: that of draw 0 */
    const uint32_t* starts;      /* plan of the guidance, as of tgvc_guidance_gradient */
    const uint32_t* entries;
    const float* base;           /* z = base + shown_scale * x0 is what the guidance looks at */
    const float* shown_scales;   /* (channels), or NULL: shown_scale */
    const float* outside;        /* (channels, outside_frames * cells): where indices beyond the window point */
    float* out;                  /* next x; not the memory of x */
    float* clean;                /* x0 */
    void* network;               /* (network_rows, network_channels, frames * cells): gets the next x in its first channels */
    uint32_t channels, frames, cells, outside_frames, network_rows, network_channels;
    uint32_t seed, group, draw, mean; /* draw 0: no fresh noise; mean 1: pull divided by the weights at a cell */
    float signal, spread, clean_scale, scale;
    float held_signal, held_spread, shown_scale;
    float held_level, outside_level; /* what held_clean and outside are multiplied with */
    float w[6]; /* of x, v, clean, earlier, noise, gradient */
} tgvc_step;

TGVC_API int tgvc_guided_step(tgvc_type type, const tgvc_step* step, tgvc_stream stream);
/* The same where the arguments are on the device too, and not looked at before: for graphs that are replayed. */
TGVC_API int tgvc_guided_step_at(
    tgvc_type type, const tgvc_step* step, uint32_t channels, uint32_t frames, uint32_t cells, tgvc_stream stream);

#ifdef __cplusplus
}
#endif
#endif
