// Forward splatting with plain averages. Twin of `reference.splat`.
//
// Places are whole 64ths of a cell and features whole 2^-16ths, so all sums are of whole numbers: atomics add them in any
// order to the same bits.
#pragma once
#include "fields.cuh"

namespace tgvc {

constexpr float FARTHEST = 1048576.0f, LARGEST = 16384.0f;

TGVC_DEVICE void accumulate(i64* sum, i64 value) {
#if defined(__CUDA_ARCH__)
    atomicAdd(reinterpret_cast<u64*>(sum), static_cast<u64>(value));
#else
    *sum += value;
#endif
}

// A feature in steps of 2^-16; what is not a number counts as 0.
TGVC_BODY i64 level_of(float value) {
    value = value > -LARGEST ? value : value == value ? -LARGEST : 0.0f;
    value = value < LARGEST ? value : LARGEST;
    return static_cast<i64>(nearest(mul(value, 65536.0f)));
}

// Coordinate in 64ths of a cell.
TGVC_BODY bool place_at(u32 start, float step, i32& place) {
    const float at = add(static_cast<float>(start), step);
    if (!(at > -FARTHEST && at < FARTHEST)) return false;
    place = static_cast<i32>(nearest(mul(at, 64.0f)));
    return true;
}

// sums (C + 1, h, w) += shares of cell `thread`'s features, and last of the shares themselves.
template <class S>
TGVC_DEVICE void splat_add(
    u32 thread, const S* features, const S* flow, i64* sums, u32 channels, u32 height, u32 width) {
    const u32 cells = height * width;
    if (thread >= cells) return;
    const Vector step = read_vector(flow, thread);
    i32 column, row;
    if (!place_at(thread % width, step.x, column) || !place_at(thread / width, step.y, row)) return;
    for (u32 corner = 0; corner < 4; ++corner) {
        const i32 right = corner & 1, down = corner >> 1;
        const i32 x = (column >> 6) + right, y = (row >> 6) + down;
        const i32 across = right ? column & 63 : 64 - (column & 63), along = down ? row & 63 : 64 - (row & 63);
        const i64 share = across * along;
        if (!share || x < 0 || y < 0 || x >= static_cast<i32>(width) || y >= static_cast<i32>(height)) continue;
        i64* cell = sums + static_cast<u32>(y) * width + static_cast<u32>(x);
        for (u32 c = 0; c < channels; ++c)
            accumulate(cell + static_cast<u64>(c) * cells, share * level_of(load(features[static_cast<u64>(c) * cells + thread])));
        accumulate(cell + static_cast<u64>(channels) * cells, share);
    }
}

// out (C + 1, h, w): means, and last how much came, in cells.
template <class S> TGVC_BODY void splat_finish(u32 thread, const i64* sums, S* out, u32 channels, u32 cells) {
    if (thread >= cells) return;
    const double weight = static_cast<double>(sums[static_cast<u64>(channels) * cells + thread]);
    const double scale = weight > 0 ? mul(weight, 65536.0) : 1.0;
    for (u32 c = 0; c < channels; ++c) {
        const u64 n = static_cast<u64>(c) * cells + thread;
        out[n] = store<S>(static_cast<float>(div(static_cast<double>(sums[n]), scale)));
    }
    out[static_cast<u64>(channels) * cells + thread] = store<S>(static_cast<float>(div(weight, 4096.0)));
}

}  // namespace tgvc
