// Planes of pictures. Twins of `reference.warp`, `blend_weights` and `mix`; cells measure `scale` x `scale` px.
#pragma once
#include "base.cuh"
#include "fields.cuh"

namespace tgvc {

constexpr u32 RUN = 4;  // neighbouring px of one thread, written in one access

TGVC_BODY Place stretch(u32 pixel, float scale, u32 cells) {
    return place_of(sub(div(add(static_cast<float>(pixel), 0.5f), scale), 0.5f), cells);
}

// Catmull-Rom's weights at fraction t of the samples -1, 0, 1, 2.
struct Cubic { float weight[4]; };

TGVC_BODY Cubic cubic(float t) {
    const float t2 = mul(t, t), t3 = mul(t2, t);
    return Cubic{{
        mul(0.5f, sub(add(-t, mul(2.0f, t2)), t3)),
        mul(0.5f, add(sub(2.0f, mul(5.0f, t2)), mul(3.0f, t3))),
        mul(0.5f, sub(add(t, mul(4.0f, t2)), mul(3.0f, t3))),
        mul(0.5f, sub(t3, t2))}};
}

// 4 x 4 samples around a displaced position, clamped to 0..255.
template <class S>
TGVC_BODY float warped(const u8* plane, const S* field, u32 row, u32 column, u32 height, u32 width, u32 h, u32 w) {
    const float scale = static_cast<float>(height / h);
    const Place left = stretch(column, scale, w), top = stretch(row, scale, h);
    const u32 n = top.index * w + left.index, s = n + w;
    const Vector a = read_vector(field, n), b = read_vector(field, n + 1);
    const Vector c = read_vector(field, s), d = read_vector(field, s + 1);
    const float dx = between(between(a.x, c.x, top.share), between(b.x, d.x, top.share), left.share);
    const float dy = between(between(a.y, c.y, top.share), between(b.y, d.y, top.share), left.share);
    const float x = clamp(add(static_cast<float>(column), mul(scale, dx)), static_cast<float>(width - 1));
    const float y = clamp(add(static_cast<float>(row), mul(scale, dy)), static_cast<float>(height - 1));
    const i32 x0 = static_cast<i32>(x), y0 = static_cast<i32>(y);
    const Cubic across = cubic(sub(x, static_cast<float>(x0))), down = cubic(sub(y, static_cast<float>(y0)));
    float total = 0.0f;
    for (i32 i = 0; i < 4; ++i) {
        const u8* line = plane + static_cast<u32>(clamp_index(y0 + i - 1, static_cast<i32>(height) - 1)) * width;
        float sum = 0.0f;
        for (i32 j = 0; j < 4; ++j) {
            const u8 level = line[clamp_index(x0 + j - 1, static_cast<i32>(width) - 1)];
            sum = add(sum, mul(across.weight[j], static_cast<float>(level)));
        }
        total = add(total, mul(down.weight[i], sum));
    }
    return clamp(total, 255.0f);
}

// out[y, x] = plane at (x, y) + scale field((x, y) in cells); RUN px of the flat plane to a thread.
template <class S>
TGVC_BODY void warp(u32 thread, const u8* plane, const S* field, S* out, u32 height, u32 width, u32 h, u32 w) {
    const u32 first = thread * RUN, size = height * width;
    Pack<S, RUN> run;
    for (u32 n = 0; n < RUN && first + n < size; ++n) {
        const u32 at = first + n;
        run.value[n] = store<S>(warped(plane, field, at / width, at % width, height, width, h, w));
    }
    if (first + RUN <= size) write_pack(out + first, run);
    else for (u32 at = first; at < size; ++at) out[at] = run.value[at - first];
}

// |mean of a - b| over the 2 x 2 px of a cell.
template <class S> TGVC_BODY float cell_difference(const S* a, const S* b, u32 row, u32 column, u32 w) {
    const u32 upper = 4 * row * w + 2 * column, lower = upper + 2 * w;
    const Pack<S, 2> a0 = read_pack<2>(a + upper), a1 = read_pack<2>(a + lower);
    const Pack<S, 2> b0 = read_pack<2>(b + upper), b1 = read_pack<2>(b + lower);
    const float top = add(sub(load(a0.value[0]), load(b0.value[0])), sub(load(a0.value[1]), load(b0.value[1])));
    const float bottom = add(sub(load(a1.value[0]), load(b1.value[0])), sub(load(a1.value[1]), load(b1.value[1])));
    const float mean = mul(add(top, bottom), 0.25f);
    return mean < 0.0f ? -mean : mean;
}

// w_b / (w_a + w_b) from the 25 differences around a cell, columns first; odds = (1 - tau) / tau, power = log odds.
TGVC_BODY float later_share(const float* around, u32 stride, float trust_a, float trust_b, float odds, float power) {
    float sum = 0.0f;
    for (u32 i = 0; i < 5; ++i) {
        const float* d = around + i;
        const float above = add(d[0], d[stride]), below = add(d[3 * stride], d[4 * stride]);
        const float column = add(add(above, d[2 * stride]), below);
        sum = i == 0 ? column : add(sum, column);
    }
    const float s = clamp(div(sub(div(sum, 25.0f), 6.0f), 14.0f), 1.0f);
    const float ratio = s == 0.0f ? odds : exponential(mul(add(1.0f, mul(2.0f, s)), power));
    return div(trust_b, add(trust_b, mul(ratio, trust_a)));
}

// floor(a + w (b - a) + 1/2) with the weights stretched to the plane.
template <class S>
TGVC_BODY void mix(u32 thread, const S* a, const S* b, const S* weights, u8* out, u32 height, u32 width, u32 h, u32 w) {
    const u32 first = thread * RUN, size = height * width;
    if (first >= size) return;
    const bool whole = first + RUN <= size;
    Pack<S, RUN> early, late;
    if (whole) early = read_pack<RUN>(a + first), late = read_pack<RUN>(b + first);
    else for (u32 at = first; at < size; ++at) early.value[at - first] = a[at], late.value[at - first] = b[at];
    Pack<u8, RUN> run;
    const float scale = static_cast<float>(height / h);
    for (u32 n = 0; n < RUN && first + n < size; ++n) {
        const Place top = stretch((first + n) / width, scale, h), left = stretch((first + n) % width, scale, w);
        const S* line = weights + top.index * w + left.index;
        const float near = between(load(line[0]), load(line[w]), top.share);
        const float far = between(load(line[1]), load(line[w + 1]), top.share);
        const float share = between(near, far, left.share), p = load(early.value[n]);
        run.value[n] = grey(add(add(p, mul(share, sub(load(late.value[n]), p))), 0.5f));
    }
    if (whole) write_pack(out + first, run);
    else for (u32 at = first; at < size; ++at) out[at] = run.value[at - first];
}

}  // namespace tgvc
