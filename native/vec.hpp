// Vectors: one source for every instruction set, by the compiler's own vector types.
//
// A `Vec<T>` is a register of WIDTH_BYTES (16 for SSE2 and NEON, 32 for AVX2, 64 for AVX-512). The
// file is compiled once for each, in its own namespace; the arithmetic is the same everywhere.
#pragma once

#include <cstdint>
#include <cstring>

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
// A weight in bfloat16: the upper half of a float32.
struct BFloat {
    std::uint16_t bits;
};

// Packed weights as the arithmetic sees them.
template <class T> INLINE Vec<T> widen(const T* p) { return load(p); }
INLINE Vec<float> widen(const BFloat* p) {
    typedef std::uint16_t Half __attribute__((vector_size(LSTMKIT_VECTOR_BYTES / 2)));
    typedef std::uint32_t Whole __attribute__((vector_size(LSTMKIT_VECTOR_BYTES)));
    Half half;
    std::memcpy(&half, p, sizeof half);
    const Whole whole = __builtin_convertvector(half, Whole) << 16;
    Vec<float> v;
    std::memcpy(&v, &whole, sizeof v);
    return v;
}
// Weights are rounded before they come here, so that this cuts nothing off but zeros.
template <class T> INLINE void narrow(T* to, T from) { *to = from; }
INLINE void narrow(BFloat* to, float from) {
    std::uint32_t bits;
    std::memcpy(&bits, &from, sizeof bits);
    to->bits = std::uint16_t(bits >> 16);
}

template <class T> INLINE Vec<T> all(T s) { return s - Vec<T>{}; }

// e^x for |x| ≤ 88 (float) or 709 (double): x = n ln 2 + r with |r| ≤ ln 2 / 2, then 2^n times the
// Taylor series of e^r, which at these orders is exact to the last bit or two.
INLINE Vec<float> exp_bounded(Vec<float> x) {
    using V = Vec<float>;
    const V shift = all(12582912.0f);  // 1.5 · 2^23: adding it rounds to a whole number
    V n = x * 1.44269504f + shift;
    Int<float> bits;
    std::memcpy(&bits, &n, sizeof bits);
    n -= shift;
    V r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    V p = all(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    Int<float> scale = (bits << 23) + (127 << 23);  // the whole number is in the low bits
    V power;
    std::memcpy(&power, &scale, sizeof power);
    return p * power;
}
INLINE Vec<double> exp_bounded(Vec<double> x) {
    using V = Vec<double>;
    const V shift = all(6755399441055744.0);  // 1.5 · 2^52
    V n = x * 1.4426950408889634 + shift;
    Int<double> bits;
    std::memcpy(&bits, &n, sizeof bits);
    n -= shift;
    V r = x - n * 6.93145751953125e-1;
    r = r - n * 1.42860682030941723212e-6;
    V p = all(1.0 / 6227020800.0);
    const double inverse_factorials[] = {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
                                         1.0 / 362880,    1.0 / 40320,    1.0 / 5040,
                                         1.0 / 720,       1.0 / 120,      1.0 / 24,
                                         1.0 / 6,         0.5};
    for (double c : inverse_factorials) p = p * r + c;
    p = p * r * r + r + 1.0;
    Int<double> scale = (bits << 52) + (std::int64_t(1023) << 52);
    V power;
    std::memcpy(&power, &scale, sizeof power);
    return p * power;
}

template <class T> constexpr T EXP_LIMIT = T(87);
template <> inline constexpr double EXP_LIMIT<double> = 708;

template <class T> INLINE Vec<T> abs_(Vec<T> x) { return x < 0 ? -x : x; }

// σ(z) = 1 / (1 + e^−z), exactly 0 or 1 far out, and never an overflow on the way.
template <class T> INLINE Vec<T> sigmoid(Vec<T> z) {
    const Vec<T> limit = all(EXP_LIMIT<T>);
    Vec<T> x = -z;
    x = x > limit ? limit : x;
    x = x < -limit ? -limit : x;
    Vec<T> s = T(1) / (T(1) + exp_bounded(x));
    return z < -limit ? Vec<T>{} : s;
}

// tanh: away from zero 1 − 2 / (e^2|x| + 1); near zero, where that would cancel, its continued
// fraction x / (1 + x²/(3 + x²/(5 + …))) (Lambert), cut where it is exact to rounding at |x| < 0.6.
template <class T> INLINE Vec<T> tanh_(Vec<T> x) {
    Vec<T> a = abs_<T>(x);
    const Vec<T> limit = all(T(sizeof(T) == 4 ? 10 : 20));
    Vec<T> bounded = a > limit ? limit : a;
    Vec<T> far = T(1) - T(2) / (exp_bounded(bounded + bounded) + T(1));
    Vec<T> q = x * x;
    Vec<T> near;
    if constexpr (sizeof(T) == 4) {  // five terms: 1e-10 at 0.6
        near = x * ((q + T(105)) * q + T(945)) / ((T(15) * q + T(420)) * q + T(945));
    } else {  // eight terms: 3e-18 at 0.6
        near = x * (((T(36) * q + T(6930)) * q + T(270270)) * q + T(2027025)) /
               ((((q + T(630)) * q + T(51975)) * q + T(945945)) * q + T(2027025));
    }
    far = x < 0 ? -far : far;
    return a < T(0.6) ? near : far;
}

}  // namespace LSTMKIT_NAMESPACE
}  // namespace lstmkit
