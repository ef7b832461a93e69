// The C library: every function looks at its sizes, picks the kernel of its storage type and launches it.
#define TGVC_CHECK  // kernels by name, for tgvc_kernel
#include "tgvc_kernels.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <cuda_runtime.h>

#include "kernels.hpp"

static_assert(sizeof(tgvc_step) == sizeof(tgvc::Step), "the header's step is not the kernel's");
static_assert(offsetof(tgvc_step, w) == offsetof(tgvc::Step, w), "the header's step is not the kernel's");

namespace {

using tgvc::BLOCK;

constexpr uint64_t MOST = (1ull << 31) - 1;  // elements that 32 bits can count

bool fits(uint64_t a, uint64_t b = 1, uint64_t c = 1) {
    return a <= MOST && b <= MOST && a * b <= MOST && a * b * c <= MOST;
}

template <class... Arguments>
int launch_blocks(const void* kernel, uint64_t blocks, tgvc_stream stream, bool cooperative, Arguments... arguments) {
    if (!kernel) return cudaErrorInvalidValue;
    if (blocks == 0) return cudaSuccess;
    void* packed[] = {static_cast<void*>(&arguments)...};
    const dim3 grid(static_cast<unsigned>(blocks)), block(BLOCK);
    if (cooperative) return cudaLaunchCooperativeKernel(kernel, grid, block, packed, 0, stream);
    return cudaLaunchKernel(kernel, grid, block, packed, 0, stream);
}

template <class... Arguments>
int launch(const void* kernel, uint64_t threads, tgvc_stream stream, Arguments... arguments) {
    return launch_blocks(kernel, (threads + BLOCK - 1) / BLOCK, stream, false, arguments...);
}

const void* choose(tgvc_type type, const void* f32, const void* f16, const void* bf16) {
    return type == TGVC_F32 ? f32 : type == TGVC_F16 ? f16 : type == TGVC_BF16 ? bf16 : nullptr;
}

uint32_t wide(tgvc_type type) { return type == TGVC_F32 ? 4 : 8; }  // numbers in 128 bits

tgvc::Colour coefficients(int matrix, bool forth) {
    double red = 0.299, blue = 0.114;  // BT.601, for codes that are not here too
    switch (matrix) {
        case 1: red = 0.2126, blue = 0.0722; break;
        case 4: red = 0.30, blue = 0.11; break;
        case 7: red = 0.212, blue = 0.087; break;
        case 9:
        case 10: red = 0.2627, blue = 0.0593; break;
    }
    const double green = 1 - red - blue, luma = 219.0 / 255, chroma = 224.0 / 255;
    const double u = 2 * (1 - blue) / chroma, v = 2 * (1 - red) / chroma;
    const double rows[2][9] = {
        {red * luma, green * luma, blue * luma,
         -red / (1 - blue) / 2 * chroma, -green / (1 - blue) / 2 * chroma, chroma / 2,
         chroma / 2, -green / (1 - red) / 2 * chroma, -blue / (1 - red) / 2 * chroma},
        {1 / luma, 0, v, 1 / luma, -u * blue / green, -v * red / green, 1 / luma, u, 0}};
    tgvc::Colour colour;
    for (int n = 0; n < 9; ++n) colour.row[n / 3][n % 3] = static_cast<float>(rows[forth ? 0 : 1][n]);
    return colour;
}

}  // namespace

#define TGVC_PICK(name) \
    choose(type, reinterpret_cast<const void*>(name##_f32), reinterpret_cast<const void*>(name##_f16), \
           reinterpret_cast<const void*>(name##_bf16))

int tgvc_version(void) { return TGVC_KERNELS_VERSION; }

const void* tgvc_kernel(const char* name) {
    const tgvc_check::Listed* kernel = name ? tgvc_check::Listed::find(name) : nullptr;
    return kernel ? kernel->function : nullptr;
}

int tgvc_sample_field(
    tgvc_type type, const void* field, const void* at, void* out, uint32_t h, uint32_t w, uint32_t count,
    tgvc_stream stream) {
    if (h < 2 || w < 2 || !fits(h, w, 2) || !fits(count, 2)) return cudaErrorInvalidValue;
    return launch(TGVC_PICK(sample_field), count, stream, field, at, out, h, w, count);
}

int tgvc_project(
    tgvc_type type, const void* flow, void* out, uint32_t h, uint32_t w, float tau, uint32_t iterations,
    tgvc_stream stream) {
    if (h < 2 || w < 2 || !fits(h, w, 2) || !(tau >= 0 && tau <= 1) || iterations < 1) return cudaErrorInvalidValue;
    return launch(TGVC_PICK(project), uint64_t(h) * w, stream, flow, out, h, w, tau, iterations);
}

int tgvc_shift(
    tgvc_type type, const void* field, const void* by, void* out, uint32_t h, uint32_t w, tgvc_stream stream) {
    if (h < 2 || w < 2 || !fits(h, w, 2)) return cudaErrorInvalidValue;
    return launch(TGVC_PICK(shift), uint64_t(h) * w, stream, field, by, out, h, w);
}

int tgvc_densify(
    tgvc_type type, const void* centres, const void* values, void* out, uint32_t count, uint32_t h, uint32_t w,
    double reach, tgvc_stream stream) {
    if (!fits(h, w, 2) || !fits(count, 2) || !(reach > 0)) return cudaErrorInvalidValue;
    const float core = static_cast<float>((reach / 16) * (reach / 16));
    const float pull = std::pow(static_cast<float>(reach * reach) + core, -1.75f);
    return launch(TGVC_PICK(densify), uint64_t(h) * w, stream, centres, values, out, count, h, w, core, pull);
}

int tgvc_splat(
    tgvc_type type, const void* features, const void* flow, int64_t* sums, void* out, uint32_t channels, uint32_t h,
    uint32_t w, tgvc_stream stream) {
    if (h < 2 || w < 2 || !fits(h, w, 2) || channels == UINT32_MAX || !fits(h * w, channels + 1)) {
        return cudaErrorInvalidValue;
    }
    const uint32_t cells = h * w, count = cells * (channels + 1);
    if (const int fault = launch(TGVC_PICK(splat_clear), count, stream, sums, count)) return fault;
    if (const int fault = launch(TGVC_PICK(splat_add), cells, stream, features, flow, sums, channels, h, w)) return fault;
    return launch(TGVC_PICK(splat_finish), cells, stream, sums, out, channels, cells);
}

static bool scaled(uint32_t height, uint32_t width, uint32_t h, uint32_t w) {
    return h >= 2 && w >= 2 && fits(height, width) && height / h >= 1 && height == height / h * h &&
           uint64_t(width) == uint64_t(height / h) * w;
}

int tgvc_warp(
    tgvc_type type, const uint8_t* plane, const void* field, void* out, uint32_t height, uint32_t width, uint32_t h,
    uint32_t w, tgvc_stream stream) {
    if (!scaled(height, width, h, w) || !fits(h, w, 2)) return cudaErrorInvalidValue;
    const uint64_t threads = (uint64_t(height) * width + tgvc::RUN - 1) / tgvc::RUN;
    return launch(TGVC_PICK(warp), threads, stream, plane, field, out, height, width, h, w);
}

int tgvc_blend_weights(
    tgvc_type type, const void* a, const void* b, const void* trust_a, const void* trust_b, void* out, uint32_t h,
    uint32_t w, float tau, tgvc_stream stream) {
    if (!fits(h, w, 4) || !(tau >= 0 && tau <= 1)) return cudaErrorInvalidValue;
    const float odds = tau == 0 ? std::numeric_limits<float>::infinity() : (1.0f - tau) / tau;
    const float power = static_cast<float>(std::log(static_cast<double>(odds)));
    const uint64_t rows = (h + tgvc::TILE_H - 1) / tgvc::TILE_H, columns = (w + tgvc::TILE_W - 1) / tgvc::TILE_W;
    return launch_blocks(
        TGVC_PICK(blend_weights), rows * columns, stream, false, a, b, trust_a, trust_b, out, h, w, odds, power);
}

int tgvc_mix(
    tgvc_type type, const void* a, const void* b, const void* weights, uint8_t* out, uint32_t height, uint32_t width,
    uint32_t h, uint32_t w, tgvc_stream stream) {
    if (!scaled(height, width, h, w)) return cudaErrorInvalidValue;
    const uint64_t threads = (uint64_t(height) * width + tgvc::RUN - 1) / tgvc::RUN;
    return launch(TGVC_PICK(mix), threads, stream, a, b, weights, out, height, width, h, w);
}

static uint64_t runs(uint32_t count, uint32_t h, uint32_t w) {
    return uint64_t(count) * h * ((w + tgvc::BLOCKS - 1) / tgvc::BLOCKS);
}

int tgvc_pack_planes(
    tgvc_type type, const uint8_t* pictures, void* planes, uint32_t count, uint32_t h, uint32_t w,
    tgvc_stream stream) {
    if (!fits(h, w, 6) || !fits(count, uint64_t(h) * w, 6)) return cudaErrorInvalidValue;
    return launch(TGVC_PICK(pack_planes), runs(count, h, w), stream, pictures, planes, count, h, w);
}

int tgvc_unpack_planes(
    tgvc_type type, const void* planes, uint8_t* pictures, uint32_t count, uint32_t h, uint32_t w,
    tgvc_stream stream) {
    if (!fits(h, w, 6) || !fits(count, uint64_t(h) * w, 6)) return cudaErrorInvalidValue;
    return launch(TGVC_PICK(unpack_planes), runs(count, h, w), stream, planes, pictures, count, h, w);
}

int tgvc_rgb_to_yuv(
    tgvc_type type, const void* rgb, uint8_t* pictures, int matrix, uint32_t count, uint32_t h, uint32_t w,
    tgvc_stream stream) {
    if (!fits(h, w, 12) || !fits(count, uint64_t(h) * w, 12)) return cudaErrorInvalidValue;
    const tgvc::Colour colour = coefficients(matrix, true);
    return launch(TGVC_PICK(rgb_to_yuv), uint64_t(count) * h * w, stream, rgb, pictures, colour, count, h, w);
}

int tgvc_yuv_to_rgb(
    tgvc_type type, const uint8_t* pictures, void* rgb, int matrix, uint32_t count, uint32_t h, uint32_t w,
    tgvc_stream stream) {
    if (!fits(h, w, 12) || !fits(count, uint64_t(h) * w, 12)) return cudaErrorInvalidValue;
    const tgvc::Colour colour = coefficients(matrix, false);
    return launch(TGVC_PICK(yuv_to_rgb), uint64_t(count) * h * w, stream, pictures, rgb, colour, count, h, w);
}

int tgvc_normal_noise(
    tgvc_type type, const int64_t* frames, void* out, uint32_t seed, uint32_t group, uint32_t draw, uint32_t channels,
    uint32_t count, uint32_t cells, tgvc_stream stream) {
    if (!fits(count, cells) || !fits(channels, uint64_t(count) * cells)) return cudaErrorInvalidValue;
    const uint64_t threads = (uint64_t(channels) + 3) / 4 * count * cells;
    return launch(TGVC_PICK(normal_noise), threads, stream, frames, out, seed, group, draw, channels, count, cells);
}

int tgvc_guidance_gradient(
    tgvc_type type, const void* z, const void* start, const void* end, void* out, const uint32_t* starts,
    const uint32_t* entries, uint32_t channels, uint32_t size, uint32_t start_size, uint32_t end_size,
    tgvc_stream stream) {
    if (!fits(channels, size) || !fits(channels, start_size) || !fits(channels, end_size)) return cudaErrorInvalidValue;
    const uint64_t threads = (uint64_t(channels) + 3) / 4 * size;
    return launch(
        TGVC_PICK(guidance_gradient), threads, stream, z, start, end, out, starts, entries, channels, size, start_size,
        end_size);
}

size_t tgvc_work_size(void) { return sizeof(tgvc::SpreadWork); }

int tgvc_step_factor(
    tgvc_type type, const void* v, const void* u, void* work, float* factor, double rescale, float scale,
    uint32_t size, tgvc_stream stream) {
    if (size < 1 || !fits(size) || !(rescale >= 0 && rescale <= 1)) return cudaErrorInvalidValue;
    return launch_blocks(
        TGVC_PICK(step_factor), tgvc::SPREAD_BLOCKS, stream, true, v, u, work, factor, rescale, scale, size);
}

int tgvc_predict_clean(
    tgvc_type type, const void* x, const void* v, const void* u, const float* factor, void* clean, void* o,
    float signal, float spread, float clean_scale, float scale, uint32_t size, tgvc_stream stream) {
    if (!fits(size) || (u && !o)) return cudaErrorInvalidValue;
    const uint64_t threads = (uint64_t(size) + wide(type) - 1) / wide(type);
    return launch(
        TGVC_PICK(predict_clean), threads, stream, x, v, u, factor, clean, o, signal, spread, clean_scale, scale, size);
}

int tgvc_sampler_step(
    tgvc_type type, const void* x, const void* v, const void* clean, const void* earlier, const void* noise,
    const void* gradient, void* out, const float* weights, uint32_t size, tgvc_stream stream) {
    if (!fits(size) || !weights) return cudaErrorInvalidValue;
    tgvc::Weights six;
    for (int n = 0; n < 6; ++n) six.w[n] = weights[n];
    const uint64_t threads = (uint64_t(size) + wide(type) - 1) / wide(type);
    return launch(
        TGVC_PICK(sampler_step), threads, stream, x, v, clean, earlier, noise, gradient, out, six, size);
}

int tgvc_guided_step(tgvc_type type, const tgvc_step* step, tgvc_stream stream) {
    if (!step || !step->x || !step->v || !step->out || !step->clean || step->x == step->out) return cudaErrorInvalidValue;
    if (!fits(step->frames, step->cells) || !fits(step->channels, uint64_t(step->frames) * step->cells)) {
        return cudaErrorInvalidValue;
    }
    const bool counted = step->noise_frames != nullptr;
    if ((step->draw || (step->held && !step->start)) && !counted) return cudaErrorInvalidValue;
    if (step->held && !step->held_clean) return cudaErrorInvalidValue;
    if (step->network_rows && (!step->network || step->network_channels < step->channels)) return cudaErrorInvalidValue;
    const uint64_t threads = (uint64_t(step->channels) + 3) / 4 * step->frames * step->cells;
    tgvc::Step copy;
    std::memcpy(&copy, step, sizeof copy);
    return launch(TGVC_PICK(guided_step), threads, stream, copy);
}

int tgvc_guided_step_at(
    tgvc_type type, const tgvc_step* step, uint32_t channels, uint32_t frames, uint32_t cells, tgvc_stream stream) {
    if (!step || !fits(frames, cells) || !fits(channels, uint64_t(frames) * cells)) return cudaErrorInvalidValue;
    const uint64_t threads = (uint64_t(channels) + 3) / 4 * frames * cells;
    return launch(TGVC_PICK(guided_step_at), threads, stream, step);
}
