// Normal numbers by position. Twin of `latent_reference.normal_noise`, exact; bytes: docs/diffusion.md.
#pragma once
#include "base.cuh"
#include "quantiles.cuh"

namespace tgvc {

struct Words { u32 word[4]; };

// Philox4x32-10.
TGVC_BODY Words philox(Words counter, u32 key0, u32 key1) {
    for (u32 turn = 0; turn < 10; ++turn) {
        const u64 a = 0xD2511F53ull * counter.word[0], b = 0xCD9E8D57ull * counter.word[2];
        counter = Words{{
            static_cast<u32>(b >> 32) ^ counter.word[1] ^ key0, static_cast<u32>(b),
            static_cast<u32>(a >> 32) ^ counter.word[3] ^ key1, static_cast<u32>(a)}};
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}

TGVC_BODY u32 leading_zeros(u32 value) {
#if defined(__CUDA_ARCH__)
    return static_cast<u32>(__clz(static_cast<i32>(value)));
#else
    u32 count = 0;
    while (!(value & 0x80000000u)) value <<= 1, ++count;
    return count;
#endif
}

// A chord of the table of quantiles: sign, octave of the tail, node, share of the way to the next node.
TGVC_BODY float normal(u32 word) {
    const u32 odd = word << 1 | 1u, octave = leading_zeros(odd), scaled = odd << octave;
    const i32* node = QUANTILES + octave * 65u + (scaled >> 25 & 63u);
    const i32 near = node[0], value = near - ((near - node[1]) * static_cast<i32>(scaled >> 9 & 0xffffu) >> 16);
    return mul(static_cast<float>(word >> 31 ? -value : value), 9.5367431640625e-7f);
}

// The numbers of four channels at one place.
TGVC_BODY Words noise_words(u32 seed, u32 group, u32 frame, u32 draw, u32 quad, u32 cell) {
    return philox(Words{{cell, quad, frame, draw}}, seed, group);
}

// out (channels, count, cells); a thread makes up to four channels of one cell of one frame.
template <class S>
TGVC_BODY void normal_noise(
    u32 thread, const i64* frames, S* out, u32 seed, u32 group, u32 draw, u32 channels, u32 count, u32 cells) {
    const u32 plane = count * cells, quad = thread / plane, place = thread % plane;
    if (4 * quad >= channels) return;
    const Words words = noise_words(seed, group, static_cast<u32>(frames[place / cells]), draw, quad, place % cells);
    for (u32 n = 0; n < 4 && 4 * quad + n < channels; ++n) {
        out[(4 * quad + n) * plane + place] = store<S>(normal(words.word[n]));
    }
}

}  // namespace tgvc
