// What every kernel stands on: storage types, arithmetic that is rounded once per operation, wide accesses.
//
// One text for three compilers: nvcc, NVRTC and any C++17 host compiler. No header is needed on a device; on a host the
// bodies are plain functions, and `kernels/check` runs whole kernels with them.
#pragma once

#if defined(__CUDACC__)
#define TGVC_BODY __host__ __device__ __forceinline__
#define TGVC_UNROLL _Pragma("unroll")
#define TGVC_DEVICE __device__ __forceinline__
#define TGVC_KERNEL(name) extern "C" __global__ void __launch_bounds__(tgvc::BLOCK) name
#define TGVC_TABLE __device__ const
#if defined(TGVC_CHECK)  // the check launches kernels by name
#include "listed.hpp"
#else
#define TGVC_LISTED(name)
#endif
#define TGVC_SHARED(type, name, count) __shared__ type name[count]
#define TGVC_SYNCHRONIZE() __syncthreads()
#define TGVC_SPIN()
#else
#include <cmath>
#include <cstring>
#define TGVC_BODY inline
#define TGVC_UNROLL
#define TGVC_DEVICE inline
#define TGVC_TABLE static const
#include "emulated.hpp"
#endif

namespace tgvc {

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

constexpr u32 BLOCK = 256;  // threads of a block, of every kernel

// ---------------------------------------------------------------- arithmetic
// Never contracted to a fused multiply-add, whatever the compiler's flags: results are those of the Python reference.

TGVC_BODY float add(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
}

TGVC_BODY float sub(float a, float b) { return add(a, -b); }

TGVC_BODY float mul(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

TGVC_BODY float div(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fdiv_rn(a, b);
#else
    return a / b;
#endif
}

TGVC_BODY float root(float a) {
#if defined(__CUDA_ARCH__)
    return __fsqrt_rn(a);
#else
    return std::sqrt(a);
#endif
}

TGVC_BODY double add(double a, double b) {
#if defined(__CUDA_ARCH__)
    return __dadd_rn(a, b);
#else
    return a + b;
#endif
}

TGVC_BODY double sub(double a, double b) { return add(a, -b); }

TGVC_BODY double mul(double a, double b) {
#if defined(__CUDA_ARCH__)
    return __dmul_rn(a, b);
#else
    return a * b;
#endif
}

TGVC_BODY double div(double a, double b) {
#if defined(__CUDA_ARCH__)
    return __ddiv_rn(a, b);
#else
    return a / b;
#endif
}

TGVC_BODY double root(double a) {
#if defined(__CUDA_ARCH__)
    return __dsqrt_rn(a);
#else
    return std::sqrt(a);
#endif
}

// Within 2 ulp everywhere: the one function whose bits differ between math libraries.
TGVC_BODY float exponential(float a) {
#if defined(__CUDA_ARCH__)
    return expf(a);
#else
    return std::exp(a);
#endif
}

// Nearest whole number, halves to even.
TGVC_BODY float nearest(float a) {
#if defined(__CUDA_ARCH__)
    return rintf(a);
#else
    return std::nearbyint(a);
#endif
}

// Clamped to 0..most; what is not a number becomes 0.
TGVC_BODY float clamp(float value, float most) {
    value = value > 0.0f ? value : 0.0f;
    return value < most ? value : most;
}

TGVC_BODY u8 grey(float value) { return static_cast<u8>(static_cast<u32>(clamp(value, 255.0f))); }

TGVC_BODY i32 clamp_index(i32 value, i32 most) { return value < 0 ? 0 : value > most ? most : value; }

// ---------------------------------------------------------------- storage

struct half { u16 bits; };    // IEEE binary16
struct bfloat { u16 bits; };  // upper half of binary32

TGVC_BODY u32 bits_of(float value) {
#if defined(__CUDA_ARCH__)
    return __float_as_uint(value);
#else
    u32 bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
#endif
}

TGVC_BODY float float_of(u32 bits) {
#if defined(__CUDA_ARCH__)
    return __uint_as_float(bits);
#else
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
#endif
}

TGVC_BODY float load(float value) { return value; }

TGVC_BODY float load(bfloat value) { return float_of(static_cast<u32>(value.bits) << 16); }

TGVC_BODY float load(half value) {
#if defined(__CUDA_ARCH__)
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
    return wide;
#else
    const u32 sign = static_cast<u32>(value.bits & 0x8000u) << 16, rest = value.bits & 0x7fffu;
    if (rest >= 0x7c00u) return float_of(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    // places binary16's exponent where binary32 has its own, then corrects the bias by one exact product
    return float_of(sign | bits_of(float_of(rest << 13) * float_of(0x77800000u)));
#endif
}

template <class S> TGVC_BODY S store(float value);

template <> TGVC_BODY float store<float>(float value) { return value; }

template <> TGVC_BODY bfloat store<bfloat>(float value) {
    const u32 bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return bfloat{static_cast<u16>(bits >> 16 | 0x40u)};
    return bfloat{static_cast<u16>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

template <> TGVC_BODY half store<half>(float value) {
#if defined(__CUDA_ARCH__)
    half narrow;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(value));
    return narrow;
#else
    const u32 bits = bits_of(value), rest = bits & 0x7fffffffu;
    const u16 sign = static_cast<u16>(bits >> 16 & 0x8000u);
    if (rest > 0x7f800000u) return half{static_cast<u16>(sign | 0x7e00u | (rest >> 13 & 0x1ffu))};
    if (rest >= 0x477ff000u) return half{static_cast<u16>(sign | 0x7c00u)};  // what rounds to 65536 or more
    if (rest < 0x38800000u) {
        // below the smallest normal number: adding 0.5 puts the last kept bit at the end of the fraction
        const u32 rounded = bits_of(float_of(rest) + 0.5f) - bits_of(0.5f);
        return half{static_cast<u16>(sign | rounded)};
    }
    return half{static_cast<u16>(sign | ((rest + 0xfffu + (rest >> 13 & 1u) - 0x38000000u) >> 13))};
#endif
}

// ---------------------------------------------------------------- wide accesses

template <class S, u32 N> struct alignas(sizeof(S) * N) Pack { S value[N]; };

// N numbers of a row of memory that starts anywhere; one access where the address allows it.
template <u32 N, class S> TGVC_BODY Pack<S, N> read_pack(const S* from) {
    if (reinterpret_cast<u64>(from) % (sizeof(S) * N) == 0) return *reinterpret_cast<const Pack<S, N>*>(from);
    Pack<S, N> pack;
    for (u32 n = 0; n < N; ++n) pack.value[n] = from[n];
    return pack;
}

template <class S, u32 N> TGVC_BODY void write_pack(S* to, const Pack<S, N>& pack) {
    if (reinterpret_cast<u64>(to) % (sizeof(S) * N) == 0) {
        *reinterpret_cast<Pack<S, N>*>(to) = pack;
        return;
    }
    for (u32 n = 0; n < N; ++n) to[n] = pack.value[n];
}

}  // namespace tgvc

#define TGVC_THREAD (blockIdx.x * blockDim.x + threadIdx.x)

// Every kernel exists for three storage types; its name ends with the type's.
#define TGVC_FOR_EACH_TYPE(define) \
    define(f32, float)             \
    define(f16, tgvc::half)        \
    define(bf16, tgvc::bfloat)
