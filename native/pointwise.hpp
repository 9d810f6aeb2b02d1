// The part of a step between the matrix products, on one register of hidden units at a time.
#pragma once

#include "cell.hpp"
#include "gemm.hpp"

namespace lstmkit {
namespace LSTMKIT_NAMESPACE {

// The rarer functions stand once in the code, not at each of their places; z becomes f(z). (By
// reference: how a wide vector is handed over depends on the instruction set.)
template <class T> __attribute__((noinline)) void activate_rare(const Function<T>& f, Vec<T>& z) {
    switch (f.kind) {
        case Activation::relu: z = z < 0 ? Vec<T>{} : z; break;
        case Activation::hard_sigmoid: z = clamp<T>(f.alpha * z + f.beta, T(0), T(1)); break;
        case Activation::softsign: z = z / (T(1) + abs_<T>(z)); break;
        case Activation::affine: z = f.alpha * z + f.beta; break;
        case Activation::leaky_relu: z = z > 0 ? z : f.alpha * z; break;
        case Activation::thresholded_relu: z = z < f.alpha ? Vec<T>{} : z; break;
        case Activation::scaled_tanh: z = f.alpha * tanh_<T>(f.beta * z); break;
        case Activation::elu: z = z > 0 ? z : f.alpha * exp_minus_1_below_0<T>(z); break;
        case Activation::softplus: z = softplus<T>(z); break;
        default: break;
    }
}

template <class T> INLINE Vec<T> activate(const Function<T>& f, Vec<T> z) {
    if (f.kind == Activation::sigmoid) return sigmoid<T>(z);
    if (f.kind == Activation::tanh) return tanh_<T>(z);
    activate_rare<T>(f, z);
    return z;
}

// The derivative, from the function's own value a; see lstmkit/engine/activations.py.
template <class T> __attribute__((noinline)) void slope_rare(const Function<T>& f, Vec<T>& a) {
    switch (f.kind) {
        case Activation::relu: a = a > 0 ? all(T(1)) : Vec<T>{}; break;
        case Activation::hard_sigmoid: a = (a > 0) & (a < 1) ? all(f.alpha) : Vec<T>{}; break;
        case Activation::softsign: {
            const Vec<T> rest = T(1) - abs_<T>(a);
            a = rest * rest;
            break;
        }
        case Activation::affine: a = all(f.alpha); break;
        case Activation::leaky_relu: a = a > 0 ? all(T(1)) : all(f.alpha); break;
        case Activation::thresholded_relu: a = a != 0 ? all(T(1)) : Vec<T>{}; break;
        case Activation::scaled_tanh: {
            const Vec<T> tanh = f.alpha != 0 ? a / f.alpha : a;
            a = f.alpha * f.beta * (T(1) - tanh * tanh);
            break;
        }
        case Activation::elu: a = a > 0 ? all(T(1)) : a + f.alpha; break;
        case Activation::softplus: a = -exp_minus_1_below_0<T>(-a); break;
        default: a = all(T(1));
    }
}

template <class T> INLINE Vec<T> slope(const Function<T>& f, Vec<T> a) {
    if (f.kind == Activation::sigmoid) return a - a * a;
    if (f.kind == Activation::tanh) return T(1) - a * a;
    slope_rare<T>(f, a);
    return a;
}

// z clipped to ±limit; `inside` (a byte a unit, if not null) says where it was not.
template <class T> INLINE Vec<T> clip(Vec<T> z, T limit, std::uint8_t* inside, int lanes) {
    if (inside)
        for (int k = 0; k < lanes; ++k) inside[k] = z[k] <= limit && z[k] >= -limit;
    z = z > limit ? all(limit) : z;
    return z < -limit ? all(-limit) : z;
}

template <class T> INLINE Vec<T> masked(Vec<T> v, const std::uint8_t* inside, int lanes) {
    for (int k = 0; k < lanes; ++k)
        if (!inside[k]) v[k] = 0;
    return v;
}

// Pointers to one row of one step; null where the cell or the call has no such thing.
template <class T> struct Row {
    T* z;                  // (G·H) in: before the activations; out: after
    const T* c_old;        // (H)
    T* m;                  // (H)   out, o ∘ squashed: h, unless it is projected
    T* c;                  // (H)   out; may be c_old
    T* squashed;           // (H)   out
    const T* zoneout_c;    // (H)
    std::uint8_t* gates_inside;
    std::uint8_t* c_inside;
};

// i, f, o = σ(z), g = tanh(z_g), c = f ∘ c' + i ∘ g, h = o ∘ tanh(c): units [at, at + lanes).
template <class T> INLINE void plain_forward(Size H, const Row<T>& row, Size at, int lanes) {
    T* z = row.z + at;
    const Vec<T> i = sigmoid<T>(load(z, lanes));
    const Vec<T> f = sigmoid<T>(load(z + H, lanes));
    const Vec<T> g = tanh_<T>(load(z + 2 * H, lanes));
    const Vec<T> o = sigmoid<T>(load(z + 3 * H, lanes));
    const Vec<T> c = f * load(row.c_old + at, lanes) + i * g;
    const Vec<T> s = tanh_<T>(c);
    store(row.c + at, c, lanes);
    store(row.m + at, o * s, lanes);
    if (row.squashed) {
        store(z, i, lanes);
        store(z + H, f, lanes);
        store(z + 2 * H, g, lanes);
        store(z + 3 * H, o, lanes);
        store(row.squashed + at, s, lanes);
    }
}

// Everything up to c and o, with all that can be switched on.
template <class T> INLINE void forward_to_c(const Cell<T>& cell, const Row<T>& row, Size at, int lanes) {
    const Size H = cell.hidden, last = cell.gates - 1;
    T* z = row.z + at;
    const Vec<T> c_old = load(row.c_old + at, lanes);
    Vec<T> z_i = load(z, lanes), z_g = load(z + (last - 1) * H, lanes), z_o = load(z + last * H, lanes);
    Vec<T> z_f = cell.coupled ? Vec<T>{} : load(z + H, lanes);
    std::uint8_t* inside = row.gates_inside ? row.gates_inside + at : nullptr;
    const auto bounded = [&](Vec<T> v, Size gate) {
        return cell.gate_clip == 0 ? v : clip<T>(v, cell.gate_clip, inside ? inside + gate * H : nullptr, lanes);
    };
    if (cell.peephole) {
        z_i += c_old * load(cell.peephole + at, lanes);
        if (!cell.coupled) z_f += c_old * load(cell.peephole + H + at, lanes);
    }
    const Vec<T> i = activate<T>(cell.gate, bounded(z_i, 0));
    const Vec<T> f = cell.coupled ? T(1) - i : activate<T>(cell.gate, bounded(z_f, 1));
    const Vec<T> g = activate<T>(cell.candidate, bounded(z_g, last - 1));
    Vec<T> c = f * c_old + i * g;
    if (cell.cell_clip != 0) c = clip<T>(c, cell.cell_clip, row.c_inside ? row.c_inside + at : nullptr, lanes);
    if (cell.zoneout_c != 0) {
        const Vec<T> kept = row.zoneout_c ? load(row.zoneout_c + at, lanes) : all(cell.zoneout_c);
        c = kept * c_old + (T(1) - kept) * c;
    }
    if (cell.peephole) z_o += c * load(cell.peephole + (last - 1) * H + at, lanes);
    const Vec<T> o = activate<T>(cell.gate, bounded(z_o, last));
    store(row.c + at, c, lanes);
    store(z, i, lanes);
    if (!cell.coupled) store(z + H, f, lanes);
    store(z + (last - 1) * H, g, lanes);
    store(z + last * H, o, lanes);
}

// From c and o to the output before its projection and zoneout; `seen` is c or its normalized form.
template <class T>
INLINE void forward_from_c(const Cell<T>& cell, const Row<T>& row, Vec<T> seen, Size at, int lanes) {
    const Vec<T> o = load(row.z + (cell.gates - 1) * cell.hidden + at, lanes);
    const Vec<T> s = activate<T>(cell.squash, seen);
    if (row.squashed) store(row.squashed + at, s, lanes);
    store(row.m + at, o * s, lanes);
}

// Mean and 1/σ of a row, summed in order in WIDTH chains.
constexpr double LAYER_NORM_EPSILON = 1e-5;
template <class T> T normalize(const T* a, Size n, T* hat) {
    Vec<T> total{};
    each_register<T>(0, n, [&](Size k, int lanes) { total += load(a + k, lanes); });
    const T mean = sum<T>(total) / T(n);
    Vec<T> squares{};
    each_register<T>(0, n, [&](Size k, int lanes) {
        store(hat + k, load(a + k, lanes) - mean, lanes);
        const Vec<T> d = load(hat + k, lanes);  // zeros where there is nothing
        squares += d * d;
    });
    const T inverse = T(1) / T(__builtin_sqrt(double(sum<T>(squares) / T(n)) + LAYER_NORM_EPSILON));
    each_register<T>(0, n, [&](Size k, int lanes) { store(hat + k, load(hat + k, lanes) * inverse, lanes); });
    return inverse;
}

// da = (dâ − mean(dâ) − â mean(dâ ∘ â)) / σ, where dâ = da_out ∘ gain.
template <class T> void normalize_backward(const T* dout, const T* gain, const T* hat, T inverse, Size n, T* da) {
    Vec<T> total{}, along{};
    each_register<T>(0, n, [&](Size k, int lanes) {
        const Vec<T> d = load(dout + k, lanes) * load(gain + k, lanes);
        total += d;
        along += d * load(hat + k, lanes);
    });
    const T mean = sum<T>(total) / T(n), slope = sum<T>(along) / T(n);
    each_register<T>(0, n, [&](Size k, int lanes) {
        const Vec<T> d = load(dout + k, lanes) * load(gain + k, lanes);
        store(da + k, inverse * (d - mean - load(hat + k, lanes) * slope), lanes);
    });
}

}  // namespace LSTMKIT_NAMESPACE
}  // namespace lstmkit
