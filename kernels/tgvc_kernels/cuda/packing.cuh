// Pictures as the planes that networks take. Twins of `picture_reference.pack_planes` and `unpack_planes`, exact.
#pragma once
#include "base.cuh"

namespace tgvc {

constexpr u32 BLOCKS = 4;  // neighbouring blocks of 2 x 2 px of one thread

TGVC_BODY float level_of(u8 grey) { return sub(div(static_cast<float>(grey), 127.5f), 1.0f); }

TGVC_BODY u8 grey_of(float level) { return grey(nearest(clamp(mul(add(level, 1.0f), 127.5f), 255.0f))); }

// pictures (count, 3 * h, 2 * w) I420 -> planes (count, 6, h, w): luma of the corners of each block, U, V.
template <class S> TGVC_BODY void pack_planes(u32 thread, const u8* pictures, S* planes, u32 count, u32 h, u32 w) {
    const u32 across = (w + BLOCKS - 1) / BLOCKS, row = thread / across % h, picture = thread / across / h;
    if (picture >= count) return;
    const u32 first = thread % across * BLOCKS, number = w - first < BLOCKS ? w - first : BLOCKS, size = h * w;
    const u8* luma = pictures + static_cast<u64>(picture) * 6 * size + 4 * row * w + 2 * first;
    const u8* chroma = pictures + static_cast<u64>(picture) * 6 * size + 4 * size + row * w + first;
    S* to = planes + static_cast<u64>(picture) * 6 * size + row * w + first;
    if (number < BLOCKS) {
        for (u32 n = 0; n < number; ++n) {
            for (u32 corner = 0; corner < 4; ++corner) {
                to[corner * size + n] = store<S>(level_of(luma[corner / 2 * 2 * w + 2 * n + corner % 2]));
            }
            for (u32 c = 0; c < 2; ++c) to[(4 + c) * size + n] = store<S>(level_of(chroma[c * size + n]));
        }
        return;
    }
    const Pack<u8, 2 * BLOCKS> lines[2] = {read_pack<2 * BLOCKS>(luma), read_pack<2 * BLOCKS>(luma + 2 * w)};
    TGVC_UNROLL
    for (u32 plane = 0; plane < 6; ++plane) {
        Pack<S, BLOCKS> run;
        if (plane < 4) {
            for (u32 n = 0; n < BLOCKS; ++n) {
                run.value[n] = store<S>(level_of(lines[plane / 2].value[2 * n + plane % 2]));
            }
        } else {
            const Pack<u8, BLOCKS> levels = read_pack<BLOCKS>(chroma + (plane - 4) * size);
            for (u32 n = 0; n < BLOCKS; ++n) run.value[n] = store<S>(level_of(levels.value[n]));
        }
        write_pack(to + plane * size, run);
    }
}

// The inverse, rounded to the nearest level and cut at 0 and 255.
template <class S> TGVC_BODY void unpack_planes(u32 thread, const S* planes, u8* pictures, u32 count, u32 h, u32 w) {
    const u32 across = (w + BLOCKS - 1) / BLOCKS, row = thread / across % h, picture = thread / across / h;
    if (picture >= count) return;
    const u32 first = thread % across * BLOCKS, number = w - first < BLOCKS ? w - first : BLOCKS, size = h * w;
    u8* luma = pictures + static_cast<u64>(picture) * 6 * size + 4 * row * w + 2 * first;
    u8* chroma = pictures + static_cast<u64>(picture) * 6 * size + 4 * size + row * w + first;
    const S* from = planes + static_cast<u64>(picture) * 6 * size + row * w + first;
    if (number < BLOCKS) {
        for (u32 n = 0; n < number; ++n) {
            for (u32 corner = 0; corner < 4; ++corner) {
                luma[corner / 2 * 2 * w + 2 * n + corner % 2] = grey_of(load(from[corner * size + n]));
            }
            for (u32 c = 0; c < 2; ++c) chroma[c * size + n] = grey_of(load(from[(4 + c) * size + n]));
        }
        return;
    }
    Pack<u8, 2 * BLOCKS> lines[2];
    TGVC_UNROLL
    for (u32 plane = 0; plane < 6; ++plane) {
        const Pack<S, BLOCKS> run = read_pack<BLOCKS>(from + plane * size);
        if (plane < 4) {
            for (u32 n = 0; n < BLOCKS; ++n) lines[plane / 2].value[2 * n + plane % 2] = grey_of(load(run.value[n]));
            continue;
        }
        Pack<u8, BLOCKS> levels;
        for (u32 n = 0; n < BLOCKS; ++n) levels.value[n] = grey_of(load(run.value[n]));
        write_pack(chroma + (plane - 4) * size, levels);
    }
    write_pack(luma, lines[0]);
    write_pack(luma + 2 * w, lines[1]);
}

}  // namespace tgvc
