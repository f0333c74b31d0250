// The subset of CUDA C++ that kernels may use, for g++: included ahead of unchanged kernel source.
//
// In: kernel source.  Out: functions that runtime.cpp calls once for every thread, each on a stack (fiber) of its own.
// A thread's index comes from a function that the compiler may call once (it is constant for the thread); shared memory
// is thread-local storage of the one thread of the operating system in which a block runs; barriers, shuffles and votes
// go to the scheduler with the line from which they were called; atomic operations are plain ones, since nothing runs at
// the same time, and are reported to the checker.  What is not here does not compile, which is meant: no inline PTX, no
// tensor cores, no cooperative groups, no textures.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <math.h>
#include <stdlib.h>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

using std::int16_t;
using std::int32_t;
using std::int64_t;
using std::int8_t;
using std::size_t;
using std::uint16_t;
using std::uint32_t;
using std::uint64_t;
using std::uint8_t;

#define __global__ __attribute__((noinline, visibility("default")))
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __constant__ static
#define __shared__ thread_local __attribute__((used)) // used: what nothing writes to is not known to be zero
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __CUDA_ARCH__ 800
#define __CUDACC__ 1
#define CUDART_INF_F (__builtin_inff())
#define CUDART_NAN_F (__builtin_nanf(""))

#define EMULATION_UNSEEN __attribute__((noinline, no_sanitize("thread"), no_sanitize("undefined")))  // by the checker

struct uint2 { unsigned x, y; };
struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

// Where a thread is

extern "C" {
uint3 emulation_thread() noexcept __attribute__((const));
uint3 emulation_block() noexcept __attribute__((const));
dim3 emulation_block_size() noexcept __attribute__((const));
dim3 emulation_grid_size() noexcept __attribute__((const));
}
#define threadIdx (emulation_thread())
#define blockIdx (emulation_block())
#define blockDim (emulation_block_size())
#define gridDim (emulation_grid_size())
constexpr int warpSize = 32;

// Barriers, shuffles and votes

enum EmulationCollective { SYNCWARP, SHUFFLE_INDEX, SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_XOR, BALLOT };
extern "C" {
int emulation_barrier(int predicate, int line);  // how many threads came with a predicate other than 0
uint64_t emulation_collective(int kind, unsigned mask, uint64_t value, unsigned operand, int width, int line);
void emulation_atomic(const volatile void *address, size_t bytes, int line);
}

#define EMULATION_LINE int line = __builtin_LINE()
inline void __syncthreads(EMULATION_LINE) { emulation_barrier(0, line); }
inline int __syncthreads_count(int predicate, EMULATION_LINE) { return emulation_barrier(predicate != 0, line); }
inline int __syncthreads_or(int predicate, EMULATION_LINE) { return emulation_barrier(predicate != 0, line) != 0; }
inline int __syncthreads_and(int predicate, EMULATION_LINE) { return emulation_barrier(predicate == 0, line) == 0; }
inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATION_LINE) { emulation_collective(SYNCWARP, mask, 0, 0, 32, line); }
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T> EMULATION_UNSEEN T emulation_shuffle(int kind, unsigned mask, T value, unsigned operand, int width, int line) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8, "a shuffle moves up to eight bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = emulation_collective(kind, mask, bits, operand, width, line);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
template <class T> T __shfl_sync(unsigned mask, T value, int lane, int width = 32, EMULATION_LINE) {
    return emulation_shuffle(SHUFFLE_INDEX, mask, value, lane, width, line);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, EMULATION_LINE) {
    return emulation_shuffle(SHUFFLE_UP, mask, value, by, width, line);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, EMULATION_LINE) {
    return emulation_shuffle(SHUFFLE_DOWN, mask, value, by, width, line);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32, EMULATION_LINE) {
    return emulation_shuffle(SHUFFLE_XOR, mask, value, with, width, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATION_LINE) {
    return static_cast<unsigned>(emulation_collective(BALLOT, mask, predicate != 0, 0, 32, line));
}
inline int __any_sync(unsigned mask, int predicate, EMULATION_LINE) {
    return emulation_collective(BALLOT, mask, predicate != 0, 0, 32, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, EMULATION_LINE) {
    return emulation_collective(BALLOT, mask, predicate == 0, 0, 32, line) == 0;
}

// Atomic operations: each returns what was there

template <class T, class F> EMULATION_UNSEEN T emulation_exchange(T *address, F change, int line) {
    emulation_atomic(address, sizeof(T), line);
    T old = *address;
    *address = change(old);
    return old;
}
template <class T> inline T emulation_sum(T a, T b) {  // integers wrap around
    if constexpr (std::is_integral_v<T>) return static_cast<T>(std::make_unsigned_t<T>(a) + std::make_unsigned_t<T>(b));
    else return a + b;
}
template <class T> using EmulationSame = std::common_type_t<T>;  // not deduced: the value is converted, as in CUDA
#define EMULATION_ATOMIC(name, result)                                                                               \
    template <class T> T name(T *address, EmulationSame<T> value, EMULATION_LINE) {                                  \
        return emulation_exchange(address, [value](T old) -> T { return result; }, line);                            \
    }
EMULATION_ATOMIC(atomicAdd, emulation_sum(old, value))
EMULATION_ATOMIC(atomicSub, emulation_sum(old, T(0) - value))
EMULATION_ATOMIC(atomicMax, old < value ? value : old)
EMULATION_ATOMIC(atomicMin, value < old ? value : old)
EMULATION_ATOMIC(atomicAnd, old & value)
EMULATION_ATOMIC(atomicOr, old | value)
EMULATION_ATOMIC(atomicXor, old ^ value)
EMULATION_ATOMIC(atomicExch, (static_cast<void>(old), value))
template <class T> T atomicCAS(T *address, EmulationSame<T> compare, EmulationSame<T> value, EMULATION_LINE) {
    return emulation_exchange(address, [=](T old) -> T { return old == compare ? value : old; }, line);
}

// Integers and bits

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64; }
inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int i = 0; i < 32; ++i) y |= (x >> i & 1u) << (31 - i);
    return y;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }
inline int __mulhi(int a, int b) { return static_cast<int>(static_cast<int64_t>(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
template <class To, class From> inline To emulation_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    return __builtin_bit_cast(To, from);
}
inline float __uint_as_float(unsigned x) { return emulation_bits<float>(x); }
inline float __int_as_float(int x) { return emulation_bits<float>(x); }
inline unsigned __float_as_uint(float x) { return emulation_bits<unsigned>(x); }
inline int __float_as_int(float x) { return emulation_bits<int>(x); }
inline double __longlong_as_double(long long x) { return emulation_bits<double>(x); }
inline long long __double_as_longlong(double x) { return emulation_bits<long long>(x); }
template <class T> inline T __ldg(const T *address) { return *address; }
template <class T> inline T __ldcs(const T *address) { return *address; }
template <class T> inline T __ldcg(const T *address) { return *address; }
template <class T> inline void __stcs(T *address, EmulationSame<T> value) { *address = value; }
template <class T> inline void __stcg(T *address, EmulationSame<T> value) { *address = value; }

// Floating point: the names of CUDA that <cmath> lacks. g++ fuses no multiplications and additions unless told so.

template <class A, class B> inline std::common_type_t<A, B> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return std::fmin(static_cast<T>(a), static_cast<T>(b));
    else return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}
template <class A, class B> inline std::common_type_t<A, B> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return std::fmax(static_cast<T>(a), static_cast<T>(b));
    else return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}
inline float rsqrtf(float x) { return 1.0f / ::sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / ::sqrt(x); }
inline void sincospi(double x, double *s, double *c) { *s = ::sin(M_PI * x), *c = ::cos(M_PI * x); }
inline void sincospif(float x, float *s, float *c) { *s = float(::sin(M_PI * x)), *c = float(::cos(M_PI * x)); }
inline double sinpi(double x) { return ::sin(M_PI * x); }
inline double cospi(double x) { return ::cos(M_PI * x); }
inline float sinpif(float x) { return float(::sin(M_PI * x)); }
inline float cospif(float x) { return float(::cos(M_PI * x)); }
inline float __fmaf_rn(float a, float b, float c) { return ::fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return ::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { volatile float product = a * b; return product; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return ::sqrtf(a); }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { volatile double product = a * b; return product; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return ::sqrt(a); }
inline int __float2int_rn(float x) { return static_cast<int>(::nearbyintf(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline int __float2int_rd(float x) { return static_cast<int>(::floorf(x)); }
inline int __double2int_rn(double x) { return static_cast<int>(::nearbyint(x)); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline double __uint2double_rn(unsigned x) { return static_cast<double>(x); }

// Sixteen bits: storage only, without arithmetic

struct alignas(2) __half { unsigned short bits; };
struct alignas(2) __nv_bfloat16 { unsigned short bits; };
using half = __half;

inline float emulation_from_half(unsigned short h) {
    const unsigned sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31u, mantissa = h & 0x3ffu;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * static_cast<float>(mantissa) * 0x1p-24f;
    return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
}
inline unsigned short emulation_to_half(float x) {  // to nearest, ties to even
    const unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000u;
    const float size = __uint_as_float(bits & 0x7fffffffu);
    if (size != size) return static_cast<unsigned short>(0x7fff);
    if (size >= 65520.0f) return static_cast<unsigned short>(sign | 0x7c00u);
    if (size < 0x1p-14f) return static_cast<unsigned short>(sign | static_cast<unsigned>(::nearbyintf(size * 0x1p24f)));
    const unsigned magnitude = bits & 0x7fffffffu;
    return static_cast<unsigned short>(sign | ((magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13));
}
inline unsigned short emulation_to_bfloat(float x) {
    const unsigned bits = __float_as_uint(x);
    if (x != x) return static_cast<unsigned short>(0x7fff);
    return static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
inline float __half2float(__half x) { return emulation_from_half(x.bits); }
inline __half __float2half_rn(float x) { return {emulation_to_half(x)}; }
inline __half __float2half(float x) { return {emulation_to_half(x)}; }
inline unsigned short __half_as_ushort(__half x) { return x.bits; }
inline __half __ushort_as_half(unsigned short x) { return {x}; }
inline float __bfloat162float(__nv_bfloat16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return {emulation_to_bfloat(x)}; }
inline __nv_bfloat16 __float2bfloat16(float x) { return {emulation_to_bfloat(x)}; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short x) { return {x}; }

// How the host calls a kernel, and what it takes. EMULATION_KERNEL(name) is appended to the source for each kernel.

template <class T> std::string emulation_type() {
    using V = std::remove_cv_t<T>;
    if constexpr (std::is_pointer_v<V>) {
        using E = std::remove_pointer_t<V>;
        if constexpr (std::is_void_v<E>) return std::string(std::is_const_v<E> ? "const " : "") + "v0*";
        else return (std::is_const_v<E> ? "const " : "") + emulation_type<E>() + "*";
    } else {
        const char kind = std::is_same_v<V, bool>            ? 'b'
                          : std::is_floating_point_v<V>      ? 'f'
                          : std::is_same_v<V, __half>        ? 'f'
                          : std::is_same_v<V, __nv_bfloat16> ? 'B'
                          : std::is_unsigned_v<V>            ? 'u'
                          : std::is_integral_v<V>            ? 'i'
                                                             : 'V';
        return kind + std::to_string(sizeof(V));
    }
}
template <class> struct EmulationKernel;
template <class... A> struct EmulationKernel<void(A...)> {
    static std::string signature() {
        std::string all;
        ((all += emulation_type<A>() + ";"), ...);
        return all;
    }
    template <size_t... I> EMULATION_UNSEEN static void call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
        kernel(*static_cast<std::remove_cv_t<A> *>(arguments[I])...);
    }
    EMULATION_UNSEEN static void call(void (*kernel)(A...), void **arguments) {
        call(kernel, arguments, std::index_sequence_for<A...>{});
    }
};
#define EMULATION_KERNEL(name)                                                                                       \
    extern "C" EMULATION_UNSEEN void emulation_call_##name(void **arguments) {                                       \
        EmulationKernel<decltype(name)>::call(name, arguments);                                                      \
    }                                                                                                                \
    extern "C" EMULATION_UNSEEN const char *emulation_signature_##name() {                                           \
        static const std::string signature = EmulationKernel<decltype(name)>::signature();                           \
        return signature.c_str();                                                                                    \
    }
