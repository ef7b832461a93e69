// Displacement fields (h, w, 2) in cells. Twins of `reference.sample_field`, `project`, `shift` and `densify`.
#pragma once
#include "base.cuh"

namespace tgvc {

struct Vector { float x, y; };

template <class S> TGVC_BODY Vector read_vector(const S* field, u32 n) {
    const Pack<S, 2> pack = read_pack<2>(field + 2 * n);
    return Vector{load(pack.value[0]), load(pack.value[1])};
}

template <class S> TGVC_BODY void write_vector(S* field, u32 n, Vector value) {
    write_pack(field + 2 * n, Pack<S, 2>{{store<S>(value.x), store<S>(value.y)}});
}

// Index and fraction of the bilinear pair around a coordinate clamped to 0..limit - 1.
struct Place { u32 index; float share; };

TGVC_BODY Place place_of(float value, u32 limit) {
    value = clamp(value, static_cast<float>(limit - 1));
    u32 index = static_cast<u32>(value);
    index = index < limit - 2 ? index : limit - 2;
    return Place{index, sub(value, static_cast<float>(index))};
}

TGVC_BODY float between(float near, float far, float share) {
    return add(mul(near, sub(1.0f, share)), mul(far, share));
}

// Rows first, then columns: sum_ij w_ij field[y0+i, x0+j].
template <class S> TGVC_BODY Vector sample(const S* field, u32 height, u32 width, float x, float y) {
    const Place column = place_of(x, width), row = place_of(y, height);
    const u32 n = row.index * width + column.index, s = n + width;
    const Vector a = read_vector(field, n), b = read_vector(field, n + 1);
    const Vector c = read_vector(field, s), d = read_vector(field, s + 1);
    return Vector{
        between(between(a.x, c.x, row.share), between(b.x, d.x, row.share), column.share),
        between(between(a.y, c.y, row.share), between(b.y, d.y, row.share), column.share)};
}

// out[n] = field at (x, y) = at[n], n < count.
template <class S>
TGVC_BODY void sample_field(u32 thread, const S* field, const S* at, S* out, u32 height, u32 width, u32 count) {
    if (thread >= count) return;
    const Vector position = read_vector(at, thread);
    write_vector(out, thread, sample(field, height, width, position.x, position.y));
}

// q <- p - tau flow(q), `iterations` times from q = p; out = q - p.
template <class S>
TGVC_BODY void project(u32 thread, const S* flow, S* out, u32 height, u32 width, float tau, u32 iterations) {
    if (thread >= height * width) return;
    const float i = static_cast<float>(thread % width), j = static_cast<float>(thread / width);
    Vector found = read_vector(flow, thread);
    Vector q = {sub(i, mul(tau, found.x)), sub(j, mul(tau, found.y))};
    for (u32 step = 1; step < iterations; ++step) {
        found = sample(flow, height, width, q.x, q.y);
        q = Vector{sub(i, mul(tau, found.x)), sub(j, mul(tau, found.y))};
    }
    write_vector(out, thread, Vector{sub(q.x, i), sub(q.y, j)});
}

// out = by(p) + field(p + by(p)).
template <class S> TGVC_BODY void shift(u32 thread, const S* field, const S* by, S* out, u32 height, u32 width) {
    if (thread >= height * width) return;
    const Vector step = read_vector(by, thread);
    const float x = add(static_cast<float>(thread % width), step.x);
    const float y = add(static_cast<float>(thread / width), step.y);
    const Vector found = sample(field, height, width, x, y);
    write_vector(out, thread, Vector{add(step.x, found.x), add(step.y, found.y)});
}

// d(p) = sum_k w_k v_k / (sum_k w_k + pull), w_k = (|p - c_k|^2 + core)^-1.75, added in the order of the centres.
template <class S>
TGVC_BODY void densify(
    u32 thread, const S* centres, const S* values, S* out, u32 count, u32 height, u32 width, float core, float pull) {
    if (thread >= height * width) return;
    const float i = static_cast<float>(thread % width), j = static_cast<float>(thread / width);
    float total = pull;
    Vector sum = {0.0f, 0.0f};
    for (u32 k = 0; k < count; ++k) {
        const Vector centre = read_vector(centres, k), value = read_vector(values, k);
        const float x = sub(i, centre.x), y = sub(j, centre.y);
        const float square = add(add(mul(x, x), mul(y, y)), core);
        const float side = root(square);
        // x^-1.75 = 1 / (x sqrt(x) sqrt(sqrt(x)))
        const float weight = div(1.0f, mul(mul(square, side), root(side)));
        total = add(total, weight);
        sum = Vector{add(sum.x, mul(weight, value.x)), add(sum.y, mul(weight, value.y))};
    }
    write_vector(out, thread, Vector{div(sum.x, total), div(sum.y, total)});
}

}  // namespace tgvc
