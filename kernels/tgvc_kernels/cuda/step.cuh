// One step of a sampler. Twins of `latent_reference.predict_clean`, `sampler_step` and `guided_step`, exact.
#pragma once
#include "base.cuh"
#include "guidance.cuh"
#include "noise.cuh"

namespace tgvc {

// ---------------------------------------------------------------- the two halves of a step, one number after another

TGVC_BODY float combined(float v, float u, float scale, float factor) {
    return mul(add(u, mul(scale, sub(v, u))), factor);
}

TGVC_BODY float clean_of(float x, float o, float signal, float spread, float clean_scale) {
    return mul(clean_scale, sub(mul(signal, x), mul(spread, o)));
}

template <class S> struct Wide { static constexpr u32 NUMBERS = 16 / sizeof(S); };  // in 128 bits

template <u32 N, class S>
TGVC_BODY void make_clean(
    const S* x, const S* v, const S* u, S* clean, S* o, u32 first, float signal, float spread, float clean_scale,
    float scale, float gain) {
    const Pack<S, N> noisy = read_pack<N>(x + first), given = read_pack<N>(v + first);
    const Pack<S, N> other = u ? read_pack<N>(u + first) : given;
    Pack<S, N> mixed, result;
    TGVC_UNROLL
    for (u32 n = 0; n < N; ++n) {
        const float whole = load(given.value[n]);
        const float made = u ? combined(whole, load(other.value[n]), scale, gain) : whole;
        mixed.value[n] = store<S>(made);
        result.value[n] = store<S>(clean_of(load(noisy.value[n]), made, signal, spread, clean_scale));
    }
    if (u) write_pack(o + first, mixed);
    write_pack(clean + first, result);
}

// o and x0 of `predict_clean`; u and factor may be absent. A thread does 128 bits of the flat arrays.
template <class S>
TGVC_BODY void predict_clean(
    u32 thread, const S* x, const S* v, const S* u, const float* factor, S* clean, S* o, float signal, float spread,
    float clean_scale, float scale, u32 size) {
    constexpr u32 N = Wide<S>::NUMBERS;
    const u32 first = thread * N;
    const float gain = factor ? *factor : 1.0f;
    if (first + N <= size) {
        make_clean<N>(x, v, u, clean, o, first, signal, spread, clean_scale, scale, gain);
    } else {
        for (u32 at = first; at < size; ++at) {
            make_clean<1>(x, v, u, clean, o, at, signal, spread, clean_scale, scale, gain);
        }
    }
}

struct Weights { float w[6]; };

// w0 x + w1 v + w2 clean + w3 earlier + w4 noise + w5 gradient; absent terms (null) are left out.
// Sum of N neighbouring numbers of the terms that are there.
template <u32 N, class S>
TGVC_BODY void add_terms(const S* const (&terms)[6], const Weights& weights, u32 first, S* out) {
    float total[N] = {};
    TGVC_UNROLL
    for (u32 k = 0; k < 6; ++k) {
        if (!terms[k]) continue;
        const Pack<S, N> pack = read_pack<N>(terms[k] + first);
        TGVC_UNROLL
        for (u32 n = 0; n < N; ++n) {
            const float term = mul(weights.w[k], load(pack.value[n]));
            total[n] = k == 0 ? term : add(total[n], term);
        }
    }
    Pack<S, N> result;
    TGVC_UNROLL
    for (u32 n = 0; n < N; ++n) result.value[n] = store<S>(total[n]);
    write_pack(out + first, result);
}

template <class S>
TGVC_BODY void sampler_step(
    u32 thread, const S* x, const S* v, const S* clean, const S* earlier, const S* noise, const S* gradient, S* out,
    const Weights& weights, u32 size) {
    constexpr u32 N = Wide<S>::NUMBERS;
    const S* const terms[6] = {x, v, clean, earlier, noise, gradient};
    const u32 first = thread * N;
    if (first + N <= size) add_terms<N>(terms, weights, first, out);
    else for (u32 at = first; at < size; ++at) add_terms<1>(terms, weights, at, out);
}

// ---------------------------------------------------------------- the whole step

// Arguments of `guided_step`, the same bytes in Python (tgvc_kernels/device/step.py) and C (tgvc_step of the header).
// Latents are (channels, frames * cells); null = absent.
struct Step {
    const float* x;
    const void *v, *u;         // storage type S
    const float* factor;       // of the rescale, from step_factor
    const float* earlier;
    const i64* noise_frames;   // numbers of the frames, (frames): a part of the noise's counter
    const u8* held;            // (frames)
    const float* held_clean;   // (channels, frames * cells)
    const float* start;        // noise of known frames; where it is null, that of draw 0
    const u32 *starts, *entries;
    const float *base, *shown_scales, *outside;  // shown_scales (channels); outside (channels, outside_frames * cells)
    float *out, *clean;
    void* network;             // storage type S: rows of network_channels, the first channels of each are written
    u32 channels, frames, cells, outside_frames, network_rows, network_channels;
    u32 seed, group, draw, mean;   // draw 0: no fresh noise; mean: 0 or 1
    float signal, spread, clean_scale, scale;
    float held_signal, held_spread, shown_scale;  // the last counts where shown_scales is null
    float held_level, outside_level;              // of held_clean and of outside
    float w[6];
};

static_assert(sizeof(Step) == 240, "packed by hand in tgvc_kernels/device/step_kernels.py and in the C header");

// Latents that the guidance looks at, z = base + scale x0, made from the step's inputs wherever they are asked for.
template <class S> struct StepLatents {
    const Step& step;
    u32 quad, place;

    TGVC_BODY u32 plane() const { return step.frames * step.cells; }

    TGVC_BODY float output(u32 n, u32 index) const {
        const u32 at = (4 * quad + n) * plane() + index;
        const float whole = load(static_cast<const S*>(step.v)[at]);
        if (!step.u) return whole;
        const float other = load(static_cast<const S*>(step.u)[at]);
        return combined(whole, other, step.scale, step.factor ? *step.factor : 1.0f);
    }

    TGVC_BODY float clean(u32 n, u32 index) const {
        const u32 at = (4 * quad + n) * plane() + index;
        if (step.held && step.held[index / step.cells]) return mul(step.held_level, step.held_clean[at]);
        return clean_of(step.x[at], output(n, index), step.signal, step.spread, step.clean_scale);
    }

    TGVC_BODY float shown(u32 n, u32 index) const {
        const float scale = step.shown_scales ? step.shown_scales[4 * quad + n] : step.shown_scale;
        const float scaled = mul(scale, clean(n, index));
        return step.base ? add(step.base[(4 * quad + n) * plane() + index], scaled) : scaled;
    }

    TGVC_BODY float here(u32 n) const { return shown(n, place); }

    TGVC_BODY float first(u32 n, u32 index) const {
        if (index < plane()) return shown(n, index);
        const u32 at = (4 * quad + n) * step.outside_frames * step.cells + index - plane();
        return mul(step.outside_level, step.outside[at]);
    }

    TGVC_BODY float last(u32 n, u32 index) const { return first(n, index); }
};

// A thread moves up to four channels of one cell.
template <class S> TGVC_BODY void guided_step(u32 thread, const Step& step) {
    const u32 plane = step.frames * step.cells, quad = thread / plane, place = thread % plane;
    if (4 * quad >= step.channels) return;
    const u32 count = step.channels - 4 * quad < 4 ? step.channels - 4 * quad : 4;
    const u32 frame = place / step.cells, cell = place % step.cells;
    const bool held = step.held && step.held[frame];
    const StepLatents<S> latents = {step, quad, place};
    Pull pull;
    if (step.starts && !held) pull = pull_at(place, count, step.starts, step.entries, step.mean != 0, latents);
    Words fresh, first;
    if (step.draw && !held) {
        const u32 number = static_cast<u32>(step.noise_frames[frame]);
        fresh = noise_words(step.seed, step.group, number, step.draw, quad, cell);
    }
    if (held && !step.start) {
        first = noise_words(step.seed, step.group, static_cast<u32>(step.noise_frames[frame]), 0, quad, cell);
    }
    for (u32 n = 0; n < count; ++n) {
        const u32 at = (4 * quad + n) * plane + place;
        const float clean = latents.clean(n, place);
        float total;
        if (held) {
            const float start = step.start ? step.start[at] : normal(first.word[n]);
            total = add(mul(step.held_signal, clean), mul(step.held_spread, start));
        } else {
            total = add(mul(step.w[0], step.x[at]), mul(step.w[1], latents.output(n, place)));
            total = add(total, mul(step.w[2], clean));
            if (step.earlier) total = add(total, mul(step.w[3], step.earlier[at]));
            if (step.draw) total = add(total, mul(step.w[4], normal(fresh.word[n])));
            if (step.starts) total = add(total, mul(step.w[5], pull.value[n]));
        }
        step.out[at] = total;
        step.clean[at] = clean;
        for (u32 row = 0; row < step.network_rows; ++row) {
            const u64 channel = static_cast<u64>(row) * step.network_channels + 4 * quad + n;
            static_cast<S*>(step.network)[channel * plane + place] = store<S>(total);
        }
    }
}

}  // namespace tgvc
