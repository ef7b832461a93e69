// RGB in -1..1 and I420 of limited range. Twins of `picture_reference.rgb_to_yuv` and `yuv_to_rgb`, exact.
//
// A chroma sample lies between its four luma samples: down it is their mean, up it is bilinear with borders repeated.
#pragma once
#include "base.cuh"
#include "packing.cuh"

namespace tgvc {

// Rows of the conversion, from picture_reference.colour_coefficients.
struct Colour { float row[3][3]; };

TGVC_BODY float weighed(const float* row, float a, float b, float c) {
    return add(add(mul(row[0], a), mul(row[1], b)), mul(row[2], c));
}

// rgb (count, 3, 2 * h, 2 * w) -> pictures (count, 3 * h, 2 * w); a thread makes a block of 2 x 2 px.
template <class S>
TGVC_BODY void rgb_to_yuv(u32 thread, const S* rgb, u8* pictures, Colour colour, u32 count, u32 h, u32 w) {
    const u32 column = thread % w, row = thread / w % h, picture = thread / w / h, size = h * w;
    if (picture >= count) return;
    const S* from = rgb + static_cast<u64>(picture) * 12 * size + 4 * row * w + 2 * column;
    u8* luma = pictures + static_cast<u64>(picture) * 6 * size + 4 * row * w + 2 * column;
    u8* chroma = pictures + static_cast<u64>(picture) * 6 * size + 4 * size + row * w + column;
    float level[3][4], mean[3];
    for (u32 c = 0; c < 3; ++c) {
        for (u32 line = 0; line < 2; ++line) {
            const Pack<S, 2> pair = read_pack<2>(from + 4 * c * size + 2 * line * w);
            for (u32 n = 0; n < 2; ++n) {
                level[c][2 * line + n] = clamp(mul(add(load(pair.value[n]), 1.0f), 127.5f), 255.0f);
            }
        }
        mean[c] = mul(add(add(level[c][0], level[c][1]), add(level[c][2], level[c][3])), 0.25f);
    }
    for (u32 line = 0; line < 2; ++line) {
        Pack<u8, 2> pair;
        for (u32 n = 0; n < 2; ++n) {
            const u32 at = 2 * line + n;
            pair.value[n] = grey(nearest(add(weighed(colour.row[0], level[0][at], level[1][at], level[2][at]), 16.0f)));
        }
        write_pack(luma + 2 * line * w, pair);
    }
    chroma[0] = grey(nearest(add(weighed(colour.row[1], mean[0], mean[1], mean[2]), 128.0f)));
    chroma[size] = grey(nearest(add(weighed(colour.row[2], mean[0], mean[1], mean[2]), 128.0f)));
}

// Sixteenths of a chroma plane at the px (dy, dx) of a block, less 128.
TGVC_BODY float chroma_at(const u8* plane, u32 row, u32 column, u32 dy, u32 dx, u32 h, u32 w) {
    const u32 y = clamp_index(static_cast<i32>(row + 2 * dy) - 1, static_cast<i32>(h) - 1);
    const u32 x = clamp_index(static_cast<i32>(column + 2 * dx) - 1, static_cast<i32>(w) - 1);
    const u32 near = 9u * plane[row * w + column] + 3u * plane[row * w + x];
    const u32 sum = near + 3u * plane[y * w + column] + plane[y * w + x];
    return sub(mul(static_cast<float>(sum), 0.0625f), 128.0f);
}

// The inverse; a thread makes a block of 2 x 2 px.
template <class S>
TGVC_BODY void yuv_to_rgb(u32 thread, const u8* pictures, S* rgb, Colour colour, u32 count, u32 h, u32 w) {
    const u32 column = thread % w, row = thread / w % h, picture = thread / w / h, size = h * w;
    if (picture >= count) return;
    const u8* luma = pictures + static_cast<u64>(picture) * 6 * size + 4 * row * w + 2 * column;
    const u8* chroma = pictures + static_cast<u64>(picture) * 6 * size + 4 * size;
    S* to = rgb + static_cast<u64>(picture) * 12 * size + 4 * row * w + 2 * column;
    for (u32 line = 0; line < 2; ++line) {
        const Pack<u8, 2> grey = read_pack<2>(luma + 2 * line * w);
        float u[2], v[2];
        for (u32 n = 0; n < 2; ++n) {
            u[n] = chroma_at(chroma, row, column, line, n, h, w);
            v[n] = chroma_at(chroma + size, row, column, line, n, h, w);
        }
        for (u32 c = 0; c < 3; ++c) {
            Pack<S, 2> pair;
            for (u32 n = 0; n < 2; ++n) {
                const float y = sub(static_cast<float>(grey.value[n]), 16.0f);
                const float level = clamp(weighed(colour.row[c], y, u[n], v[n]), 255.0f);
                pair.value[n] = store<S>(sub(div(level, 127.5f), 1.0f));
            }
            write_pack(to + 4 * c * size + 2 * line * w, pair);
        }
    }
}

}  // namespace tgvc
