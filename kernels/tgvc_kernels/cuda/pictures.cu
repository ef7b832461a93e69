// Kernels on planes: formulas in pictures.cuh, shapes in tgvc_kernels/reference.py under the same names.
#include "pictures.cuh"

using tgvc::u32;
using tgvc::u8;

namespace tgvc {

// A block makes a tile of 32 x 8 cells: the differences of these and of two cells around them are computed once.
constexpr u32 TILE_W = 32, TILE_H = BLOCK / TILE_W, EDGE = 2;
constexpr u32 HALO_W = TILE_W + 2 * EDGE, HALO_H = TILE_H + 2 * EDGE;

template <class S>
TGVC_DEVICE void blend_tile(
    const S* a, const S* b, const S* trust_a, const S* trust_b, S* out, u32 h, u32 w, float odds, float power) {
    TGVC_SHARED(float, differences, HALO_W * HALO_H);
    const u32 across = (w + TILE_W - 1) / TILE_W;
    const u32 top = blockIdx.x / across * TILE_H, left = blockIdx.x % across * TILE_W;
    for (u32 n = threadIdx.x; n < HALO_W * HALO_H; n += BLOCK) {
        const i32 y = static_cast<i32>(top + n / HALO_W) - static_cast<i32>(EDGE);
        const i32 x = static_cast<i32>(left + n % HALO_W) - static_cast<i32>(EDGE);
        const u32 row = clamp_index(y, static_cast<i32>(h) - 1), column = clamp_index(x, static_cast<i32>(w) - 1);
        differences[n] = cell_difference(a, b, row, column, w);
    }
    TGVC_SYNCHRONIZE();
    const u32 row = threadIdx.x / TILE_W, column = threadIdx.x % TILE_W;
    if (top + row >= h || left + column >= w) return;
    const u32 at = (top + row) * w + left + column;
    const float* around = differences + row * HALO_W + column;
    out[at] = store<S>(later_share(around, HALO_W, load(trust_a[at]), load(trust_b[at]), odds, power));
}

}  // namespace tgvc

#define TGVC_DEFINE(suffix, S)                                                                                        \
    TGVC_KERNEL(warp_##suffix)(const u8* plane, const S* field, S* out, u32 height, u32 width, u32 h, u32 w) {        \
        tgvc::warp(TGVC_THREAD, plane, field, out, height, width, h, w);                                              \
    }                                                                                                                 \
    TGVC_LISTED(warp_##suffix)                                                                                        \
    TGVC_KERNEL(blend_weights_##suffix)                                                                               \
    (const S* a, const S* b, const S* trust_a, const S* trust_b, S* out, u32 h, u32 w, float odds, float power) {     \
        tgvc::blend_tile(a, b, trust_a, trust_b, out, h, w, odds, power);                                             \
    }                                                                                                                 \
    TGVC_LISTED(blend_weights_##suffix)                                                                               \
    TGVC_KERNEL(mix_##suffix)                                                                                         \
    (const S* a, const S* b, const S* weights, u8* out, u32 height, u32 width, u32 h, u32 w) {                        \
        tgvc::mix(TGVC_THREAD, a, b, weights, out, height, width, h, w);                                              \
    }                                                                                                                 \
    TGVC_LISTED(mix_##suffix)

TGVC_FOR_EACH_TYPE(TGVC_DEFINE)
#undef TGVC_DEFINE
