// The one long sum of a step: standard deviations of v and of the combined output, in the order of `latent_reference`.
//
// Number k goes to lane k mod 1024 and every lane adds in order, so lanes are dealt to blocks, not numbers: 32 blocks
// of 32 lanes. Mean first, then squares: all blocks wait for each other once in between (cooperative launch); the block
// that ends last folds the lanes. Integer tickets are the only atomics.
#pragma once
#include "base.cuh"

namespace tgvc {

constexpr u32 LANES = 1024, OWN = 32, SPREAD_BLOCKS = LANES / OWN, ROWS = 64;

// What the blocks share, zeroed once when it is made: lanes of v and o, twice, and two counters that only grow.
struct SpreadWork {
    double sums[2][LANES], squares[2][LANES];
    u32 arrived, finished;
};

TGVC_DEVICE u32 take_ticket(u32* counter) {
#if defined(__CUDA_ARCH__)
    __threadfence();
    return atomicAdd(counter, 1u);
#else
    return (*counter)++;
#endif
}

TGVC_DEVICE void see_others() {
#if defined(__CUDA_ARCH__)
    __threadfence();
#endif
}

// Waits until every block has come here as often as this one.
TGVC_DEVICE void meet(u32* counter) {
    TGVC_SYNCHRONIZE();
    if (threadIdx.x == 0) {
        const u32 target = (take_ticket(counter) / SPREAD_BLOCKS + 1) * SPREAD_BLOCKS;
        while (static_cast<i32>(*static_cast<volatile u32*>(counter) - target) < 0) TGVC_SPIN();
        see_others();
    }
    TGVC_SYNCHRONIZE();
}

// Lanes added in pairs half a row apart until one is left. All threads call it; all get the sum.
TGVC_DEVICE double fold(const volatile double* lanes, double* room) {
    TGVC_SYNCHRONIZE();
    for (u32 n = threadIdx.x; n < LANES; n += BLOCK) room[n] = lanes[n];
    for (u32 half = LANES / 2; half; half /= 2) {
        TGVC_SYNCHRONIZE();
        for (u32 n = threadIdx.x; n < half; n += BLOCK) room[n] = add(room[n], room[n + half]);
    }
    TGVC_SYNCHRONIZE();
    return room[0];
}

// This block's lanes of v (warp 0) and of o (warp 1), of the numbers themselves or of their squared distance to a mean.
// Tiles of ROWS x OWN numbers go through shared memory: all threads load, two warps add.
template <class S>
TGVC_DEVICE void add_lanes(
    const S* v, const S* u, float scale, u32 size, bool squared, const double* means, float* tile,
    double (*out)[LANES]) {
    const u32 lane = threadIdx.x % OWN, team = threadIdx.x / OWN, from = blockIdx.x * OWN + lane;
    double total = 0.0;
    for (u32 start = 0; start < size; start += ROWS * LANES) {
        for (u32 row = team; row < ROWS; row += BLOCK / OWN) {
            const u32 at = start + row * LANES + from;
            if (at >= size) break;
            const float whole = load(v[at]), other = load(u[at]);
            tile[row * OWN + lane] = whole;
            tile[(ROWS + row) * OWN + lane] = add(other, mul(scale, sub(whole, other)));
        }
        TGVC_SYNCHRONIZE();
        for (u32 row = 0; team < 2 && row < ROWS && start + row * LANES + from < size; ++row) {
            const double value = tile[(team * ROWS + row) * OWN + lane];
            const double off = squared ? sub(value, means[team]) : value;
            total = add(total, squared ? mul(off, off) : off);
        }
        TGVC_SYNCHRONIZE();
    }
    if (team < 2) out[team][from] = total;
}

// factor = rescale std(v) / std(o) + 1 - rescale with o = u + scale (v - u); 1 where std(o) is 0.
template <class S>
TGVC_DEVICE void step_factor(
    const S* v, const S* u, SpreadWork* work, float* factor, double rescale, float scale, u32 size) {
    TGVC_SHARED(float, tile, 2 * ROWS * OWN);
    TGVC_SHARED(double, room, LANES);
    TGVC_SHARED(double, means, 2);
    TGVC_SHARED(u32, ticket, 1);
    add_lanes(v, u, scale, size, false, means, tile, work->sums);
    meet(&work->arrived);
    for (u32 k = 0; k < 2; ++k) {
        const double sum = fold(work->sums[k], room);
        if (threadIdx.x == 0) means[k] = div(sum, static_cast<double>(size));
    }
    TGVC_SYNCHRONIZE();
    add_lanes(v, u, scale, size, true, means, tile, work->squares);
    TGVC_SYNCHRONIZE();
    if (threadIdx.x == 0) ticket[0] = take_ticket(&work->finished);
    TGVC_SYNCHRONIZE();
    if (ticket[0] % SPREAD_BLOCKS != SPREAD_BLOCKS - 1) return;
    see_others();
    const double whole = root(div(fold(work->squares[0], room), static_cast<double>(size)));
    const double own = root(div(fold(work->squares[1], room), static_cast<double>(size)));
    if (threadIdx.x != 0) return;
    const double kept = sub(1.0, rescale);
    *factor = own > 0.0 ? static_cast<float>(add(mul(rescale, div(whole, own)), kept)) : 1.0f;
}

}  // namespace tgvc
