// Pull of trajectories at latents. Twin of `latent_reference.guidance_gradient`, exact: signs are added as integers.
//
// The plan on a device has a row for every latent cell (`starts`, cells + 1 offsets) and packs an entry into two words:
// for the first and for the last reference, 4 * index + weight in halves.
#pragma once
#include "base.cuh"

namespace tgvc {

struct Pull { float value[4]; };

TGVC_BODY i32 sign_of_difference(float there, float here) {
    return static_cast<i32>(there > here) - static_cast<i32>(there < here);
}

// Gradient at one cell for up to four channels. `Reader` gives the latents: here(n), first(n, index), last(n, index).
// With `mean` the sum is divided by the sum of the weights that meet there.
template <class Reader>
TGVC_BODY Pull pull_at(u32 place, u32 channels, const u32* starts, const u32* entries, bool mean, const Reader& read) {
    Pull pull = {{0.0f, 0.0f, 0.0f, 0.0f}};
    const u32 start = starts[place], stop = starts[place + 1];
    if (start == stop) return pull;
    float here[4];
    i32 halves[4] = {0, 0, 0, 0}, weights = 0;
    for (u32 n = 0; n < channels; ++n) here[n] = read.here(n);
    for (u32 e = start; e < stop; ++e) {
        const Pack<u32, 2> entry = read_pack<2>(entries + 2 * e);
        const u32 first = entry.value[0] >> 2, last = entry.value[1] >> 2;
        const i32 alpha = entry.value[0] & 3u, beta = entry.value[1] & 3u;
        weights += alpha + beta;
        for (u32 n = 0; n < channels; ++n) {
            if (alpha) halves[n] += alpha * sign_of_difference(read.first(n, first), here[n]);
            if (beta) halves[n] += beta * sign_of_difference(read.last(n, last), here[n]);
        }
    }
    const float share = mul(static_cast<float>(weights > 1 ? weights : 1), 0.5f);
    for (u32 n = 0; n < channels; ++n) {
        pull.value[n] = mul(static_cast<float>(halves[n]), 0.5f);
        if (mean) pull.value[n] = div(pull.value[n], share);
    }
    return pull;
}

// Latents in memory: z (C, size), first and last volumes (C, first_size), (C, last_size); channels from 4 * quad.
template <class S> struct StoredLatents {
    const S *z, *start, *end;
    u32 size, start_size, end_size, quad, place;

    TGVC_BODY float here(u32 n) const { return load(z[(4 * quad + n) * size + place]); }
    TGVC_BODY float first(u32 n, u32 index) const { return load(start[(4 * quad + n) * start_size + index]); }
    TGVC_BODY float last(u32 n, u32 index) const { return load(end[(4 * quad + n) * end_size + index]); }
};

template <class S>
TGVC_BODY void guidance_gradient(
    u32 thread, const S* z, const S* start, const S* end, S* out, const u32* starts, const u32* entries, u32 channels,
    u32 size, u32 start_size, u32 end_size) {
    const u32 quad = thread / size, place = thread % size;
    if (4 * quad >= channels) return;
    const u32 count = channels - 4 * quad < 4 ? channels - 4 * quad : 4;
    const StoredLatents<S> latents = {z, start, end, size, start_size, end_size, quad, place};
    const Pull pull = pull_at(place, count, starts, entries, false, latents);
    for (u32 n = 0; n < count; ++n) out[(4 * quad + n) * size + place] = store<S>(pull.value[n]);
}

}  // namespace tgvc
