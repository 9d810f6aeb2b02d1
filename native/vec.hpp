// Vectors: one source for every instruction set, by the compiler's own vector types.
//
// A `Vec<T>` is a register of WIDTH_BYTES (16 for SSE2 and NEON, 32 for AVX2, 64 for AVX-512). The
// file is compiled once for each, in its own namespace; the arithmetic is the same everywhere.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef LSTMKIT_VECTOR_BYTES
#error "compile with -DLSTMKIT_VECTOR_BYTES=16, 32 or 64"
#endif

namespace lstmkit {
namespace LSTMKIT_NAMESPACE {

template <class T> struct Lanes;
template <> struct Lanes<float> {
    typedef float Vec __attribute__((vector_size(LSTMKIT_VECTOR_BYTES)));
    typedef std::int32_t Int __attribute__((vector_size(LSTMKIT_VECTOR_BYTES)));
    using Scalar = std::int32_t;
};
template <> struct Lanes<double> {
    typedef double Vec __attribute__((vector_size(LSTMKIT_VECTOR_BYTES)));
    typedef std::int64_t Int __attribute__((vector_size(LSTMKIT_VECTOR_BYTES)));
    using Scalar = std::int64_t;
};
template <class T> using Vec = typename Lanes<T>::Vec;
template <class T> using Int = typename Lanes<T>::Int;
template <class T> constexpr int WIDTH = LSTMKIT_VECTOR_BYTES / int(sizeof(T));

#define INLINE inline __attribute__((always_inline))

template <class T> INLINE Vec<T> load(const T* p) {
    Vec<T> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class T> INLINE void store(T* p, Vec<T> v) { std::memcpy(p, &v, sizeof v); }

// The last block of a row may be shorter than a register.
template <class T> INLINE Vec<T> load(const T* p, int n) {
    if (n >= WIDTH<T>) return load(p);
    T lanes[WIDTH<T>] = {};
    for (int k = 0; k < n; ++k) lanes[k] = p[k];
    return load(lanes);
}
template <class T> INLINE void store(T* p, Vec<T> v, int n) {
    if (n >= WIDTH<T>) return store(p, v);
    T lanes[WIDTH<T>];
    store(lanes, v);
    for (int k = 0; k < n; ++k) p[k] = lanes[k];
}
// work_on(k, lanes) for the registers of [from, to): apart for whole ones, where the compiler then knows
// how many lanes there are.
template <class T, class F> INLINE void each_register(std::int64_t from, std::int64_t to, const F& work_on) {
    for (; from + WIDTH<T> <= to; from += WIDTH<T>) work_on(from, WIDTH<T>);
    if (from < to) work_on(from, int(to - from));
}
// A weight in bfloat16: the upper half of a float32.
struct BFloat {
    std::uint16_t bits;
};

// Packed weights as the arithmetic sees them.
template <class T> INLINE Vec<T> widen(const T* p) { return load(p); }
INLINE Vec<float> widen(const BFloat* p) {
    typedef std::uint32_t Whole __attribute__((vector_size(LSTMKIT_VECTOR_BYTES)));
#if LSTMKIT_VECTOR_BYTES == 32 && defined(__AVX2__)  // GCC makes five instructions of the general form
    Whole whole = reinterpret_cast<Whole>(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif LSTMKIT_VECTOR_BYTES == 64 && defined(__AVX512F__)
    Whole whole = reinterpret_cast<Whole>(
        _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#else
    typedef std::uint16_t Half __attribute__((vector_size(LSTMKIT_VECTOR_BYTES / 2)));
    Half half;
    std::memcpy(&half, p, sizeof half);
    Whole whole = __builtin_convertvector(half, Whole);
#endif
    whole <<= 16;
    Vec<float> v;
    std::memcpy(&v, &whole, sizeof v);
    return v;
}
template <class T> INLINE Vec<T> widen(const T* p, int n) { return load(p, n); }
INLINE Vec<float> widen(const BFloat* p, int n) {
    BFloat lanes[WIDTH<float>] = {};
    for (int k = 0; k < n; ++k) lanes[k] = p[k];
    return widen(lanes);
}
// Weights are rounded before they come here, so that this cuts nothing off but zeros.
template <class T> INLINE void narrow(T* to, T from) { *to = from; }
INLINE void narrow(BFloat* to, float from) {
    std::uint32_t bits;
    std::memcpy(&bits, &from, sizeof bits);
    to->bits = std::uint16_t(bits >> 16);
}

// The numbers Index::of(0), Index::of(1), … of two registers one after the other.
template <class T, class Index, int... I> INLINE Vec<T> chosen(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, Index::of(I)...);
#else
    return __builtin_shuffle(a, b, Int<T>{typename Lanes<T>::Scalar(Index::of(I))...});
#endif
}
template <class T, class Index> INLINE Vec<T> chosen(Vec<T> a, Vec<T> b) {
    return chosen<T, Index>(a, b, std::make_integer_sequence<int, WIDTH<T>>());
}
// Every other S numbers of a and of b, from the first (odd 0) or the second S on.
template <int W, int S, int odd> struct Exchanged {
    static constexpr int of(int k) { return (k & S ? W + k - S : k) + odd * S; }
};
// In every L numbers: of a and b in turn, from the lower (upper 0) or the upper half of them.
template <int W, int L, int upper> struct InTurn {
    static constexpr int of(int k) { return k / L * L + upper * L / 2 + k % L / 2 + k % 2 * W; }
};
// WIDTH registers as the rows of a matrix, turned. Squares of S are exchanged until they are as wide as
// 16 bytes, within which every instruction set has the instructions that put numbers in turn.
template <class T, int S> INLINE void transpose(Vec<T> (&rows)[WIDTH<T>]) {
    constexpr int W = WIDTH<T>, L = 16 / int(sizeof(T));
    if constexpr (S >= L) {
        for (int k = 0; k < W; ++k)
            if (!(k & S)) {
                const Vec<T> a = rows[k], b = rows[k + S];
                rows[k] = chosen<T, Exchanged<W, S, 0>>(a, b), rows[k + S] = chosen<T, Exchanged<W, S, 1>>(a, b);
            }
        transpose<T, S / 2>(rows);
    } else {
        for (int pass = 1; pass < L; pass *= 2)
            for (int group = 0; group < W; group += L) {
                Vec<T> next[L];
                for (int k = 0; k < L / 2; ++k) {
                    const Vec<T> a = rows[group + k], b = rows[group + k + L / 2];
                    next[2 * k] = chosen<T, InTurn<W, L, 0>>(a, b), next[2 * k + 1] = chosen<T, InTurn<W, L, 1>>(a, b);
                }
                for (int k = 0; k < L; ++k) rows[group + k] = next[k];
            }
    }
}

template <class T> INLINE Vec<T> all(T s) { return s - Vec<T>{}; }

// e^x = 2^n (1 + p): x = n ln 2 + r with |r| ≤ ln 2 / 2, and p = e^r − 1 by its Taylor series, which
// at these orders is exact to the last bit or two, relative to p. 2^128 (2^1024) comes out as
// infinity and 2^−127 (2^−1023) as 0.
template <class T> struct Power {
    Vec<T> two_to_n, p;
};
INLINE Power<float> exp_parts(Vec<float> x) {
    using V = Vec<float>;
    const V shift = all(12582912.0f);  // 1.5 · 2^23: adding it rounds to a whole number
    V n = x * 1.44269504f + shift;
    Int<float> bits;
    std::memcpy(&bits, &n, sizeof bits);
    n -= shift;
    V r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    V q = all(1.0f / 5040);
    q = q * r + 1.0f / 720;
    q = q * r + 1.0f / 120;
    q = q * r + 1.0f / 24;
    q = q * r + 1.0f / 6;
    q = q * r + 0.5f;
    Int<float> scale = (bits << 23) + (127 << 23);  // the whole number is in the low bits
    V power;
    std::memcpy(&power, &scale, sizeof power);
    return {power, q * (r * r) + r};
}
INLINE Power<double> exp_parts(Vec<double> x) {
    using V = Vec<double>;
    const V shift = all(6755399441055744.0);  // 1.5 · 2^52
    V n = x * 1.4426950408889634 + shift;
    Int<double> bits;
    std::memcpy(&bits, &n, sizeof bits);
    n -= shift;
    V r = x - n * 6.93145751953125e-1;
    r = r - n * 1.42860682030941723212e-6;
    V q = all(1.0 / 6227020800.0);
    const double inverse_factorials[] = {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
                                         1.0 / 362880,    1.0 / 40320,    1.0 / 5040,
                                         1.0 / 720,       1.0 / 120,      1.0 / 24,
                                         1.0 / 6,         0.5};
    for (double c : inverse_factorials) q = q * r + c;
    Int<double> scale = (bits << 52) + (std::int64_t(1023) << 52);
    V power;
    std::memcpy(&power, &scale, sizeof power);
    return {power, q * (r * r) + r};
}

template <class T> INLINE Vec<T> abs_(Vec<T> x) { return x < 0 ? -x : x; }

// Not a number stays what it is.
template <class T> INLINE Vec<T> clamp(Vec<T> x, T low, T high) {
    x = x < low ? all(low) : x;
    return x > high ? all(high) : x;
}

// σ(z) = 1 / (1 + e^−z): at the ends of the clamp e^−z is exactly infinity or 0, and σ 0 or 1.
template <class T> INLINE Vec<T> sigmoid(Vec<T> z) {
    constexpr T low = sizeof(T) == 4 ? T(-89) : T(-710), high = sizeof(T) == 4 ? T(88.1) : T(709.1);
    const Power<T> e = exp_parts(-clamp<T>(z, low, high));
    return T(1) / (T(1) + e.two_to_n * (T(1) + e.p));  // 1 + p > 0: never infinity − infinity
}

// e^x − 1 = 2^n p + (2^n − 1), which near zero is p and loses nothing.
template <class T> INLINE Vec<T> exp_minus_1(Vec<T> x) {
    const Power<T> e = exp_parts(x);
    return e.two_to_n * e.p + (e.two_to_n - T(1));
}

// tanh x = E / (E + 2) with E = e^2x − 1.
template <class T> INLINE Vec<T> tanh_(Vec<T> x) {
    constexpr T limit = sizeof(T) == 4 ? T(10) : T(20);
    x = clamp<T>(x, -limit, limit);
    const Vec<T> E = exp_minus_1<T>(x + x);
    return E / (E + T(2));
}

// e^x − 1 for x ≤ 0: −1 from where it is the nearest number.
template <class T> INLINE Vec<T> exp_minus_1_below_0(Vec<T> x) {
    return exp_minus_1<T>(clamp<T>(x, sizeof(T) == 4 ? T(-20) : T(-40), T(0)));
}

// ln(1 + u) for 0 ≤ u ≤ 1: 2 artanh s = 2 (s + s³/3 + s⁵/5 + …) with s = u / (2 + u) ≤ 1/3.
template <class T> INLINE Vec<T> log_1_plus(Vec<T> u) {
    constexpr int last = sizeof(T) == 4 ? 15 : 35;  // 3^−15 / 15 and 3^−35 / 35 are below a rounding
    const Vec<T> s = u / (T(2) + u), square = s * s;
    Vec<T> q = all(T(1) / T(last));
    for (int k = last - 2; k >= 3; k -= 2) q = q * square + T(1) / T(k);
    return T(2) * (s + s * (square * q));
}

// ln(1 + e^z) = max(z, 0) + ln(1 + e^−|z|), where e^−|z| falls to 0 at the end of the clamp.
template <class T> INLINE Vec<T> softplus(Vec<T> z) {
    constexpr T low = sizeof(T) == 4 ? T(-88.1) : T(-709.1);
    const Power<T> e = exp_parts(clamp<T>(-abs_<T>(z), low, T(0)));
    return (z < 0 ? Vec<T>{} : z) + log_1_plus<T>(e.two_to_n * (T(1) + e.p));
}

}  // namespace LSTMKIT_NAMESPACE
}  // namespace lstmkit
