// The kernels and the pool, checked without Python: to be run under sanitizers, and under an
// emulator for machines that are not here. Every compilation of the kernels that runs on this
// machine is compared with a scalar loop that shares no line with them.
//
//     selftest [functions] [cells] [threads] [pool]      all four by default
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <complex>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "dispatch.hpp"
#include "pool.hpp"

namespace lstmkit {
namespace wide { extern const Kernels kernels; }  // AVX-512's shape in any machine's instructions
}  // namespace lstmkit

using namespace lstmkit;

namespace {

std::atomic<long> passed{0}, failed{0};  // checks may run on several threads

void check(bool good, const std::string& what) {
    good ? ++passed : ++failed;
    if (!good && failed <= 30) std::printf("FAILED: %s\n", what.c_str());
}
void check_at_most(double found, double limit, const std::string& what) {
    check(found <= limit, what + ": " + std::to_string(found / limit) + " times the limit");  // nan fails
}

std::vector<Isa> compilations() {
    std::vector<Isa> isas;
    for (const Isa& isa : all_isas())
        if (isa.runs_here) isas.push_back(isa);
    isas.push_back({"wide", &wide::kernels, true});
    return isas;
}
template <class T> const KernelsOf<T>& of(const Isa& isa);
template <> const KernelsOf<float>& of<float>(const Isa& isa) { return isa.kernels->of_float; }
template <> const KernelsOf<double>& of<double>(const Isa& isa) { return isa.kernels->of_double; }

// ---- The activations, alone ----

template <class T> using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

template <class T> using Wider = std::conditional_t<sizeof(T) == 4, double, long double>;

// Numbers of every size and sign: every so many bit patterns, without those that are not numbers.
template <class T> std::vector<T> numbers() {
    std::vector<T> found;
    const auto step = Bits<T>(~Bits<T>(0) / (sizeof(T) == 4 ? 1000003 : 100003));
    for (Bits<T> bits = 0, last = 0; bits >= last; last = bits, bits += step) {
        T value;
        std::memcpy(&value, &bits, sizeof value);
        if (std::isfinite(value)) found.push_back(value);
    }
    for (int k = -20000; k <= 20000; ++k) found.push_back(T(k) * T(0.005));  // −100 … 100
    return found;
}

template <class T> std::vector<T> applied(const Isa& isa, Activation kind, const std::vector<T>& z, double alpha = 1, double beta = 1) {
    std::vector<T> a(z.size());
    of<T>(isa).apply({kind, T(alpha), T(beta)}, z.data(), a.data(), Size(z.size()));
    return a;
}

template <class T> void test_functions(const Isa& isa, double limit) {
    const std::string name = std::string(isa.name) + (sizeof(T) == 4 ? " float " : " double ");
    const std::vector<T> z = numbers<T>();
    // Below its least normal number a type has few digits, and σ may be 0 from a little above it.
    const double tiny = 2 * double(std::numeric_limits<T>::min());
    using W = Wider<T>;
    const std::pair<const char*, std::pair<Activation, std::function<W(W)>>> smooth[] = {
        {"sigmoid", {Activation::sigmoid, [](W x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }}},
        {"tanh", {Activation::tanh, [](W x) { return std::tanh(x); }}},
        {"elu", {Activation::elu, [](W x) { return x > 0 ? x : std::expm1(x); }}},
        {"softplus", {Activation::softplus, [](W x) { return std::max(x, W(0)) + std::log1p(std::exp(-std::fabs(x))); }}},
    };
    for (const auto& [what, function] : smooth) {
        const std::vector<T> a = applied(isa, function.first, z);
        long wrong = 0;
        Wider<T> where = 0;
        for (size_t k = 0; k < z.size(); ++k) {
            const Wider<T> x = z[k], right = function.second(x);
            const Wider<T> error = std::fabs(a[k] - right), size = std::fabs(right);
            const bool good = size < tiny ? error <= tiny : error <= limit * size;  // nan is not good
            if (!good) ++wrong, where = x;
        }
        check(wrong == 0, name + what + " of " + std::to_string(wrong) + " numbers, such as " + std::to_string(where));
        check(std::isnan(applied<T>(isa, function.first, {std::numeric_limits<T>::quiet_NaN()})[0]), name + what + " of nan");
    }
    const T infinity = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
    const std::vector<T> ends = {T(-1000), T(1000), -infinity, infinity, std::numeric_limits<T>::lowest(), std::numeric_limits<T>::max()};
    const std::vector<T> s = applied(isa, Activation::sigmoid, ends), t = applied(isa, Activation::tanh, ends);
    for (size_t k = 0; k < ends.size(); ++k) {
        check(s[k] == (ends[k] < 0 ? 0 : 1), name + "sigmoid far out");
        check(t[k] == (ends[k] < 0 ? -1 : 1), name + "tanh far out");
    }
    const std::vector<T> elu = applied(isa, Activation::elu, ends), softplus = applied(isa, Activation::softplus, ends);
    for (size_t k = 0; k < ends.size(); ++k) {
        check(elu[k] == (ends[k] < 0 ? T(-1) : ends[k]), name + "elu far out");
        check(softplus[k] == (ends[k] < 0 ? T(0) : ends[k]), name + "softplus far out");
    }
    // Those of straight pieces, at both sides of where they meet.
    const std::vector<T> some = {T(-3), T(-0.5), T(0), T(0.25), T(0.5), T(3), nan};
    const auto is = [&](const char* what, Activation kind, double alpha, double beta, std::vector<double> right) {
        const std::vector<T> a = applied(isa, kind, some, alpha, beta);
        for (size_t k = 0; k < right.size(); ++k) check(double(a[k]) == right[k], name + what + " of " + std::to_string(some[k]));
        check(std::isnan(a.back()), name + what + " of nan");
    };
    is("relu", Activation::relu, 0, 0, {0, 0, 0, 0.25, 0.5, 3});
    is("leaky_relu", Activation::leaky_relu, -0.5, 0, {1.5, 0.25, 0, 0.25, 0.5, 3});
    is("thresholded_relu", Activation::thresholded_relu, 0.25, 0, {0, 0, 0, 0.25, 0.5, 3});
    is("thresholded_relu below 0", Activation::thresholded_relu, -0.5, 0, {0, -0.5, 0, 0.25, 0.5, 3});
    is("hard_sigmoid", Activation::hard_sigmoid, -0.5, 0.25, {1, 0.5, 0.25, 0.125, 0, 0});
    is("affine", Activation::affine, -0.5, 0.25, {1.75, 0.5, 0.25, 0.125, 0, -1.25});
    check(applied<T>(isa, Activation::sigmoid, {T(0)})[0] == T(0.5), name + "sigmoid of 0");
    for (size_t count = 0; count < 70; ++count) {  // a part of a register is all that is written
        std::vector<T> in(count, T(1)), out(count + 1, T(7));
        of<T>(isa).apply({Activation::identity, 0, 0}, in.data(), out.data(), Size(count));
        const bool right = std::all_of(out.begin(), out.end() - 1, [](T v) { return v == 1; }) && out[count] == 7;
        check(right, name + std::to_string(count) + " numbers");
    }
}

// ---- One cell over time ----

struct Variant {
    const char* name;
    bool bias = true, peephole = false, coupled = false, normalized = false, start = false, recurrent = false, drawn = false;
    Size projection = 0;
    double cell_clip = 0, gate_clip = 0, zoneout_c = 0, zoneout_h = 0;
    Function<double> gate{Activation::sigmoid, 0, 0}, candidate{Activation::tanh, 0, 0}, squash = candidate;
};

Variant variant(const char* name, const std::function<void(Variant&)>& change) {
    Variant v{name};
    change(v);
    return v;
}

const std::vector<Variant>& variants() {
    using A = Activation;
    static const std::vector<Variant> all = {
        variant("plain", [](Variant&) {}),
        variant("no bias", [](Variant& v) { v.bias = false; }),
        variant("peepholes", [](Variant& v) { v.peephole = true; }),
        variant("coupled", [](Variant& v) { v.coupled = true; }),
        variant("coupled peepholes", [](Variant& v) { v.coupled = v.peephole = true; }),
        variant("layer norm", [](Variant& v) { v.normalized = true; }),
        variant("layer norm, no bias", [](Variant& v) { v.normalized = true, v.bias = false; }),
        variant("cell clip", [](Variant& v) { v.cell_clip = 0.4; }),
        variant("gate clip", [](Variant& v) { v.gate_clip = 0.5; }),
        variant("projection", [](Variant& v) { v.projection = 2; }),
        variant("wide projection", [](Variant& v) { v.projection = 20; }),
        variant("recurrent dropout", [](Variant& v) { v.recurrent = true; }),
        variant("zoneout, its mean", [](Variant& v) { v.zoneout_c = 0.3, v.zoneout_h = 0.2; }),
        variant("zoneout, drawn", [](Variant& v) { v.zoneout_c = 0.3, v.zoneout_h = 0.2, v.drawn = true; }),
        variant("zoneout of c", [](Variant& v) { v.zoneout_c = 0.4; }),
        variant("zoneout of h", [](Variant& v) { v.zoneout_h = 0.4, v.drawn = true; }),
        variant("learned start", [](Variant& v) { v.start = true; }),
        variant("relu", [](Variant& v) { v.candidate = v.squash = {A::relu, 0, 0}; }),
        variant("hard sigmoid", [](Variant& v) { v.gate = {A::hard_sigmoid, 0.25, 0.5}, v.candidate = {A::hard_sigmoid, -0.5, 0.25}; }),
        variant("softsign", [](Variant& v) { v.candidate = v.squash = {A::softsign, 0, 0}; }),
        variant("identity", [](Variant& v) { v.candidate = v.squash = {A::identity, 0, 0}; }),
        variant("affine", [](Variant& v) { v.gate = {A::affine, 0.25, 0.5}, v.squash = {A::affine, -0.75, 0.25}; }),
        variant("leaky relu", [](Variant& v) { v.candidate = {A::leaky_relu, 0.25, 0}, v.squash = {A::leaky_relu, 1.5, 0}; }),
        variant("thresholded relu", [](Variant& v) { v.candidate = {A::thresholded_relu, 0.125, 0}, v.squash = {A::thresholded_relu, 0, 0}; }),
        variant("scaled tanh", [](Variant& v) { v.gate = {A::scaled_tanh, 0.75, -0.5}, v.candidate = v.squash = {A::scaled_tanh, 1.75, 0.625}; }),
        variant("scaled to nothing", [](Variant& v) { v.candidate = {A::scaled_tanh, 0, 1}; }),
        variant("elu", [](Variant& v) { v.gate = {A::elu, 0.5, 0}, v.candidate = v.squash = {A::elu, 1, 0}; }),
        variant("softplus", [](Variant& v) { v.candidate = v.squash = {A::softplus, 0, 0}; }),
        variant("softplus of the gates", [](Variant& v) { v.gate = {A::softplus, 0, 0}, v.gate_clip = 0.5; }),
        variant("everything", [](Variant& v) {
            v.peephole = v.normalized = v.start = v.recurrent = v.drawn = true;
            v.projection = 3, v.cell_clip = 0.6, v.gate_clip = 1.2, v.zoneout_c = 0.2, v.zoneout_h = 0.3;
        }),
        variant("everything, coupled", [](Variant& v) {
            v.coupled = v.peephole = v.normalized = v.start = v.recurrent = true;
            v.projection = 3, v.cell_clip = 0.6, v.gate_clip = 1.2, v.zoneout_c = 0.2, v.zoneout_h = 0.3;
        }),
    };
    return all;
}

template <class S> using Values = std::map<std::string, std::vector<S>>;

template <class To, class From> Values<To> converted(const Values<From>& values) {
    Values<To> result;
    for (const auto& [name, numbers] : values) result[name] = std::vector<To>(numbers.begin(), numbers.end());
    return result;
}

// A cell, a ragged batch in packed order, and a loss Σ dy∘y + Σ dh∘h + Σ dc∘c of all its results.
struct Problem {
    Variant variant;
    Size I, H, P, G, N, tokens = 0;
    std::vector<Size> lengths, sizes, starts;
    std::vector<std::uint8_t> reset;
    Values<double> values;  // what has a gradient: x, the initial state "h" and "c", the weights
    Values<double> given;   // what has none: dy, dh, dc, masks

    Problem(const Variant& of, Size input, Size hidden, std::vector<Size> lengths_, bool resets, unsigned seed)
        : variant(of), I(input), H(hidden), P(of.projection ? of.projection : hidden), G(of.coupled ? 3 : 4),
          N(Size(lengths_.size())), lengths(std::move(lengths_)) {
        std::mt19937 random(seed);
        for (Size t = 0; N && t < lengths[0]; ++t) {
            sizes.push_back(std::count_if(lengths.begin(), lengths.end(), [t](Size n) { return n > t; }));
            starts.push_back(tokens);
            tokens += sizes.back();
        }
        // Each is a float, so that both precisions see the same problem.
        const auto uniform = [&random] { return double(float(std::ldexp(double(random()), -31) - 1)); };
        const auto draw = [&](Values<double>& into, const char* name, Size count, double scale, double shift = 0) {
            std::vector<double>& numbers = into[name];
            for (Size k = 0; k < count; ++k) numbers.push_back(double(float(uniform() * scale + shift)));
        };
        const auto flip = [&](const char* name, Size count, double one) {
            std::vector<double>& numbers = given[name];
            for (Size k = 0; k < count; ++k) numbers.push_back(uniform() < 0.2 ? 0 : one);
        };
        const Size GH = G * H;
        draw(values, "x", tokens * I, 1.5);
        draw(values, "h", N * P, 1), draw(values, "c", N * H, 1);
        draw(values, "weight_ih", GH * I, 2 / std::sqrt(double(I))), draw(values, "weight_hh", GH * P, 2 / std::sqrt(double(P)));
        if (of.bias) draw(values, "bias", GH, 0.5);
        if (of.peephole) draw(values, "peephole", (G - 1) * H, 0.7);
        if (of.projection) draw(values, "weight_hr", P * H, 2 / std::sqrt(double(H)));
        if (of.normalized) {
            draw(values, "norm_ih_gain", GH, 0.5, 1), draw(values, "norm_hh_gain", GH, 0.5, 1);
            draw(values, "norm_c_gain", H, 0.5, 1), draw(values, "norm_c_shift", H, 0.5);
        }
        if (of.start) draw(values, "h_0", P, 1), draw(values, "c_0", H, 1);
        draw(given, "dy", tokens * P, 1), draw(given, "dh", N * P, 1), draw(given, "dc", N * H, 1);
        if (of.recurrent) flip("recurrent", N * P, 1.25);
        if (of.drawn && of.zoneout_c != 0) flip("zoneout_c", tokens * H, 1);
        if (of.drawn && of.zoneout_h != 0) flip("zoneout_h", tokens * P, 1);
        if (resets)
            for (Size k = 0; k < tokens; ++k) reset.push_back(uniform() > 0.4);
    }
};

template <class S> struct Results {
    std::vector<S> y, h, c;
};

template <class S> S activation(const Function<double>& f, S z) {
    const S alpha(f.alpha), beta(f.beta);
    const double x = std::real(z);
    switch (f.kind) {
        case Activation::sigmoid: return S(1) / (S(1) + std::exp(-z));
        case Activation::tanh: return std::tanh(z);
        case Activation::relu: return x > 0 ? z : S(0);
        case Activation::hard_sigmoid: {
            const S line = alpha * z + beta;
            return std::real(line) < 0 ? S(0) : std::real(line) > 1 ? S(1) : line;
        }
        case Activation::softsign: return z / (S(1) + (x < 0 ? -z : z));
        case Activation::identity: return z;
        case Activation::affine: return alpha * z + beta;
        case Activation::leaky_relu: return x > 0 ? z : alpha * z;
        case Activation::thresholded_relu: return x >= f.alpha ? z : S(0);
        case Activation::scaled_tanh: return alpha * std::tanh(beta * z);
        case Activation::elu: return x > 0 ? z : alpha * (std::exp(z) - S(1));
        case Activation::softplus: return std::log(S(1) + std::exp(z));
    }
    std::abort();
}

// The equations, a sequence at a time and a number at a time; S is double, or complex for the proof.
template <class S> Results<S> reference(const Problem& p, const Values<S>& v) {
    const Variant& cell = p.variant;
    const Size I = p.I, H = p.H, P = p.P, GH = p.G * H;
    const auto w = [&](const char* name, Size k) {
        const auto found = v.find(name);
        return found == v.end() ? S(0) : found->second[k];
    };
    const auto given = [&](const char* name, Size k, double otherwise) {
        const auto found = p.given.find(name);
        return S(found == p.given.end() ? otherwise : found->second[k]);
    };
    const auto product = [&](const std::vector<S>& a, const char* name, Size rows) {
        const std::vector<S>& matrix = v.at(name);
        std::vector<S> result(rows, S(0));
        for (size_t r = 0; r < result.size(); ++r)
            for (size_t k = 0; k < a.size(); ++k) result[r] += matrix[r * a.size() + k] * a[k];
        return result;
    };
    const auto normalized = [&](std::vector<S>& a) {
        S mean(0), variance(0);
        for (const S& number : a) mean += number / double(a.size());
        for (const S& number : a) variance += (number - mean) * (number - mean) / double(a.size());
        for (S& number : a) number = (number - mean) / std::sqrt(variance + 1e-5);
    };
    const auto clipped = [](S z, double limit) {
        return limit == 0 || std::fabs(std::real(z)) <= limit ? z : S(std::real(z) > 0 ? limit : -limit);
    };
    Results<S> result{std::vector<S>(p.tokens * P), {}, {}};
    for (Size n = 0; n < p.N; ++n) {
        std::vector<S> h(v.at("h").begin() + n * P, v.at("h").begin() + (n + 1) * P);
        std::vector<S> c(v.at("c").begin() + n * H, v.at("c").begin() + (n + 1) * H);
        for (Size t = 0; t < p.lengths[n]; ++t) {
            const Size token = p.starts[t] + n;
            if (!p.reset.empty() && p.reset[token]) {
                for (Size k = 0; k < P; ++k) h[k] = w("h_0", k);
                for (Size k = 0; k < H; ++k) c[k] = w("c_0", k);
            }
            const std::vector<S> x(v.at("x").begin() + token * I, v.at("x").begin() + (token + 1) * I);
            std::vector<S> seen = h;
            for (Size k = 0; k < P; ++k) seen[k] *= given("recurrent", n * P + k, 1);
            std::vector<S> from_x = product(x, "weight_ih", GH), from_h = product(seen, "weight_hh", GH);
            if (cell.normalized) {
                normalized(from_x), normalized(from_h);
                for (Size k = 0; k < GH; ++k) {
                    from_x[k] *= w("norm_ih_gain", k);
                    from_h[k] *= w("norm_hh_gain", k);
                }
            }
            std::vector<S> outputs(H), kept_c(c), m(H);
            for (Size u = 0; u < H; ++u) {
                const auto z = [&](Size gate) {
                    const Size k = gate * H + u;
                    return from_x[k] + from_h[k] + w("bias", k);
                };
                const auto gate = [&](Size which, const S& watched) {
                    const S peeped = which == p.G - 1 ? w("peephole", (p.G - 2) * H + u) : w("peephole", which * H + u);
                    return activation(cell.gate, clipped(z(which) + (cell.peephole ? peeped * watched : S(0)), cell.gate_clip));
                };
                const S old = c[u];
                const S i = gate(0, old), f = cell.coupled ? S(1) - i : gate(1, old);
                const S g = activation(cell.candidate, clipped(z(p.G - 2), cell.gate_clip));
                const S kept = cell.zoneout_c != 0 ? given("zoneout_c", token * H + u, cell.zoneout_c) : S(0);
                const S now = kept * old + (S(1) - kept) * clipped(f * old + i * g, cell.cell_clip);
                outputs[u] = gate(p.G - 1, now);
                kept_c[u] = m[u] = now;
            }
            c = kept_c;
            if (cell.normalized) {
                normalized(m);
                for (Size u = 0; u < H; ++u) m[u] = m[u] * w("norm_c_gain", u) + w("norm_c_shift", u);
            }
            for (Size u = 0; u < H; ++u) m[u] = outputs[u] * activation(cell.squash, m[u]);
            if (cell.projection) m = product(m, "weight_hr", P);
            for (Size k = 0; k < P; ++k) {
                const S kept = cell.zoneout_h != 0 ? given("zoneout_h", token * P + k, cell.zoneout_h) : S(0);
                h[k] = kept * h[k] + (S(1) - kept) * m[k];
                result.y[token * P + k] = h[k];
            }
        }
        result.h.insert(result.h.end(), h.begin(), h.end());
        result.c.insert(result.c.end(), c.begin(), c.end());
    }
    return result;
}

// The same by the kernels; every array has exactly the size that cell.hpp states.
template <class T> class Run {
  public:
    Run(const Isa& isa, const Problem& p, bool taped, bool half = false)
        : p_(p), kernels_(of<T>(isa)), values_(converted<T>(p.values)), given_(converted<T>(p.given)) {
        const Size H = p.H, GH = p.G * H;
        cell = cell_of(p, values_);
        cell.half_weights = half;
        h_ = extended(values_["h"], p.tokens * p.P), c_ = extended(values_["c"], taped ? p.tokens * H : 0);
        tape_.rows = p.N, tape_.tokens = p.tokens, tape_.steps = Size(p.sizes.size()), tape_.sizes = p.sizes.data();
        tape_.x = values_["x"].data(), tape_.reset = p.reset.empty() ? nullptr : p.reset.data();
        tape_.recurrent_mask = find(given_, "recurrent"), tape_.zoneout_c = find(given_, "zoneout_c");
        tape_.zoneout_h = find(given_, "zoneout_h");
        tape_.h = h_.data(), tape_.c = c_.data(), tape_.taped = taped;
        if (taped) {
            const auto room = [this](Size count) { return rooms_.emplace_back(count, nan()).data(); };
            rooms_.reserve(8);
            tape_.gates = room(p.tokens * GH), tape_.squashed = room(p.tokens * H);
            if (cell.normalized) {
                tape_.ih_hat = room(p.tokens * GH), tape_.ih_inverse = room(p.tokens);
                tape_.hh_hat = room(p.tokens * GH), tape_.hh_inverse = room(p.tokens);
                tape_.c_hat = room(p.tokens * H), tape_.c_inverse = room(p.tokens);
            }
            gates_inside_.resize(cell.gate_clip != 0 ? p.tokens * GH : 0);
            c_inside_.resize(cell.cell_clip != 0 ? p.tokens * H : 0);
            if (!gates_inside_.empty()) tape_.gates_inside = gates_inside_.data();
            if (!c_inside_.empty()) tape_.c_inside = c_inside_.data();
        }
        if (taped) {
            kernels_.forward(cell, tape_);
            return;
        }
        const auto prepared = kernels_.prepare(cell);
        check(prepared->of(cell), "the prepared weights are the cell's");
        T& weight = values_[p.P > 1 ? "weight_hh" : "weight_ih"].back();
        const T before = weight;
        weight += T(1);
        check(!prepared->of(cell), "weights that changed are not the prepared ones");
        weight = before;
        prepared->forward(cell, tape_);
    }

    static Cell<T> cell_of(const Problem& p, Values<T>& values) {
        const Variant& v = p.variant;
        Cell<T> cell{};
        cell.input = p.I, cell.hidden = p.H, cell.output = p.P, cell.gates = p.G;
        cell.coupled = v.coupled, cell.projected = v.projection != 0, cell.normalized = v.normalized;
        cell.cell_clip = T(v.cell_clip), cell.gate_clip = T(v.gate_clip);
        cell.zoneout_c = T(v.zoneout_c), cell.zoneout_h = T(v.zoneout_h);
        const auto function = [](const Function<double>& f) { return Function<T>{f.kind, T(f.alpha), T(f.beta)}; };
        cell.gate = function(v.gate), cell.candidate = function(v.candidate), cell.squash = function(v.squash);
        cell.weight_ih = find(values, "weight_ih"), cell.weight_hh = find(values, "weight_hh");
        cell.bias = find(values, "bias"), cell.peephole = find(values, "peephole"), cell.weight_hr = find(values, "weight_hr");
        cell.norm_ih_gain = find(values, "norm_ih_gain"), cell.norm_hh_gain = find(values, "norm_hh_gain");
        cell.norm_c_gain = find(values, "norm_c_gain"), cell.norm_c_shift = find(values, "norm_c_shift");
        cell.h_0 = find(values, "h_0"), cell.c_0 = find(values, "c_0");
        return cell;
    }

    Results<T> results() const {
        Results<T> found{{h_.begin() + p_.N * p_.P, h_.end()}, {}, {}};
        for (Size n = 0; n < p_.N; ++n) {
            const Size length = p_.lengths[n];
            const Size row = length ? p_.N + p_.starts[length - 1] + n : n, row_of_c = tape_.taped ? row : n;
            found.h.insert(found.h.end(), h_.begin() + row * p_.P, h_.begin() + (row + 1) * p_.P);
            found.c.insert(found.c.end(), c_.begin() + row_of_c * p_.H, c_.begin() + (row_of_c + 1) * p_.H);
        }
        return found;
    }

    // By the names of Problem::values. Rooms are full of nan, to show what was not written.
    Values<T> gradients() {
        Values<T> found = values_;
        for (auto& [name, numbers] : found) std::fill(numbers.begin(), numbers.end(), nan());
        found["h"] = given_["dh"], found["c"] = given_["dc"];
        const auto room = [&found](const char* name) { return find(found, name); };
        const Gradients<T> g{given_["dy"].data(), room("h"),         room("c"),            room("x"),
                             room("weight_ih"),   room("weight_hh"), room("bias"),         room("peephole"),
                             room("weight_hr"),   room("norm_ih_gain"), room("norm_hh_gain"), room("norm_c_gain"),
                             room("norm_c_shift"), room("h_0"),      room("c_0")};
        kernels_.backward(cell, tape_, g);
        return found;
    }

    Cell<T> cell{};

  private:
    static T nan() { return std::numeric_limits<T>::quiet_NaN(); }
    static T* find(Values<T>& values, const char* name) {
        const auto found = values.find(name);
        return found == values.end() ? nullptr : found->second.data();
    }
    static std::vector<T> extended(std::vector<T> first, Size count) {
        first.resize(first.size() + count, nan());
        return first;
    }

    const Problem& p_;
    const KernelsOf<T>& kernels_;
    Values<T> values_, given_;
    std::vector<T> h_, c_;
    std::vector<std::vector<T>> rooms_;
    std::vector<std::uint8_t> gates_inside_, c_inside_;
    Tape<T> tape_{};
};

template <class A, class B> double distance(const std::vector<A>& a, const std::vector<B>& b) {
    double sum = 0;
    for (size_t k = 0; k < b.size(); ++k) sum += (double(a[k]) - double(b[k])) * (double(a[k]) - double(b[k]));
    return a.size() == b.size() ? std::sqrt(sum) : std::numeric_limits<double>::quiet_NaN();
}
double norm(const std::vector<double>& a) { return distance(a, std::vector<double>(a.size())); }

template <class T> bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}
template <class T> bool same_bits(const Results<T>& a, const Results<T>& b) {
    return same_bits(a.y, b.y) && same_bits(a.h, b.h) && same_bits(a.c, b.c);
}

// The derivative of the loss along a direction in one tensor, exact to rounding: Im f(p + ihv) / h
// at h = 1e-30 (Squire & Trapp 1998). The direction is normal: its product with an error is as
// large as the error.
struct Slope {
    std::string name;
    std::vector<double> direction;
    double value;
};
std::vector<Slope> slopes(const Problem& p, unsigned seed) {
    std::vector<Slope> found;
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    const Values<std::complex<double>> point = converted<std::complex<double>>(p.values);
    for (const auto& [name, numbers] : point) {
        Slope slope{name, {}, 0};
        Values<std::complex<double>> moved = point;
        for (auto& number : moved[name]) {
            slope.direction.push_back(normal(random));
            number += std::complex<double>(0, 1e-30 * slope.direction.back());
        }
        const Results<std::complex<double>> result = reference(p, moved);
        const auto add = [&](const std::vector<std::complex<double>>& part, const char* weight) {
            for (size_t k = 0; k < part.size(); ++k) slope.value += part[k].imag() / 1e-30 * p.given.at(weight)[k];
        };
        add(result.y, "dy"), add(result.h, "dh"), add(result.c, "dc");
        found.push_back(slope);
    }
    return found;
}

template <class T> void test_cell(const Isa& isa, const Problem& p, const Results<double>& right, const std::vector<Slope>& slopes, const std::string& name) {
    // Relative to a tensor's norm. Float rounds at 6e-8 and double at 1e-16; both lose a digit along
    // the steps, and one or two more in the gradients.
    const double forward_limit = sizeof(T) == 4 ? 1e-6 : 1e-14, backward_limit = sizeof(T) == 4 ? 1e-5 : 1e-10;
    const auto compare = [&](const std::vector<T>& found, const std::vector<double>& expected, const char* what) {
        check_at_most(distance(found, expected), forward_limit * norm(expected), name + what);
    };
    Run<T> run(isa, p, true);
    const Results<T> found = run.results();
    compare(found.y, right.y, ": y"), compare(found.h, right.h, ": h"), compare(found.c, right.c, ": c");
    check(same_bits(Run<T>(isa, p, false).results(), found), name + ": the bits without a tape");
    const Values<T> gradients = run.gradients();
    for (const Slope& slope : slopes) {
        const std::vector<double> gradient(gradients.at(slope.name).begin(), gradients.at(slope.name).end());
        double value = 0;
        for (size_t k = 0; k < gradient.size(); ++k) value += gradient[k] * slope.direction[k];
        check_at_most(std::fabs(value - slope.value), backward_limit * norm(gradient), name + ": gradient of " + slope.name);
    }
}

// Fed one step at a time, two cells one above the other give the bits that they give in sequence;
// and a row gives the same bits whoever stands beside it.
template <class T> void test_steps(const Isa& isa, const Variant& variant, Size I, Size H, Size rows, const std::string& name) {
    const Size T_ = 5;
    Problem below(variant, I, H, std::vector<Size>(rows, T_), false, 11);
    Problem above(variant, below.P, H, std::vector<Size>(rows, T_), false, 12);
    const Results<T> y_below = Run<T>(isa, below, false).results();
    above.values["x"].assign(y_below.y.begin(), y_below.y.end());
    const Results<T> y_above = Run<T>(isa, above, false).results();

    Values<T> first = converted<T>(below.values), second = converted<T>(above.values);
    const auto stepper = of<T>(isa).make_stepper({Run<T>::cell_of(below, first), Run<T>::cell_of(above, second)}, rows);
    const auto alone = of<T>(isa).make_stepper({Run<T>::cell_of(below, first)}, 1);
    std::vector<T> h = first["h"], c = first["c"];
    h.insert(h.end(), second["h"].begin(), second["h"].end()), c.insert(c.end(), second["c"].begin(), second["c"].end());
    std::vector<T> h_alone(first["h"].end() - below.P, first["h"].end()), c_alone(first["c"].end() - H, first["c"].end());
    std::vector<T> y;
    const std::vector<T> x = first["x"];
    for (auto* values : {&first, &second})
        for (auto& [weight, numbers] : *values) std::fill(numbers.begin(), numbers.end(), T(9));  // it has its own copies
    for (Size t = 0; t < T_; ++t) {
        std::vector<T> y_t(rows * above.P), y_alone(below.P);
        stepper->step(x.data() + t * rows * I, h.data(), c.data(), y_t.data());
        check(std::equal(y_t.begin(), y_t.end(), h.end() - rows * above.P), name + ": y is the last h");
        y.insert(y.end(), y_t.begin(), y_t.end());
        alone->step(x.data() + (t * rows + rows - 1) * I, h_alone.data(), c_alone.data(), y_alone.data());
    }
    check(same_bits(y, y_above.y), name + ": y step by step");
    check(same_bits(c, [&] {
        std::vector<T> both = y_below.c;
        both.insert(both.end(), y_above.c.begin(), y_above.c.end());
        return both;
    }()), name + ": c step by step");
    check(same_bits(h_alone, {y_below.h.end() - below.P, y_below.h.end()}), name + ": h of a row alone");
    check(same_bits(c_alone, {y_below.c.end() - H, y_below.c.end()}), name + ": c of a row alone");
}

// Matrices kept as bfloat16 give the bits of floats that are bfloat16 numbers.
void test_half(const Isa& isa, const Variant& variant, Size rows, const std::string& name) {
    Problem p(variant, 5, 19, std::vector<Size>(rows, 4), false, 13);
    for (const char* matrix : {"weight_ih", "weight_hh", "weight_hr"})
        if (p.values.count(matrix))
            for (double& number : p.values[matrix]) number = std::ldexp(std::floor(std::ldexp(number, 5)), -5);
    const Results<float> right = Run<float>(isa, p, false).results();
    check(same_bits(Run<float>(isa, p, false, true).results(), right), name + ": bfloat16 in sequence");
    Values<float> values = converted<float>(p.values);
    Cell<float> cell = Run<float>::cell_of(p, values);
    cell.half_weights = true;
    const auto stepper = isa.kernels->of_float.make_stepper({cell}, rows);
    std::vector<float> h = values["h"], c = values["c"];
    std::vector<float> y(rows * p.P);
    for (Size t = 0; t < 4; ++t) stepper->step(values["x"].data() + t * rows * p.I, h.data(), c.data(), y.data());
    check(same_bits(h, right.h) && same_bits(c, right.c), name + ": bfloat16 step by step");
}

// y = x Wᵀ + b and back, against sums of doubles; the arrays end where they must.
template <class T> void test_linear(const Isa& isa, Size rows, Size in, Size out, bool with_bias, double limit) {
    std::mt19937 random(unsigned(rows * 131 + in * 17 + out));
    std::normal_distribution<double> normal;
    const auto drawn = [&](Size count) {
        std::vector<T> v(static_cast<size_t>(count));
        for (T& value : v) value = T(normal(random));
        return v;
    };
    const std::vector<T> x = drawn(rows * in), weight = drawn(out * in), bias = drawn(out), dy = drawn(rows * out);
    std::vector<T> y(size_t(rows * out), T(9)), dx(size_t(rows * in), T(9)), dweight(size_t(out * in), T(9)), dbias(size_t(out), T(9));
    of<T>(isa).linear(rows, in, out, x.data(), weight.data(), with_bias ? bias.data() : nullptr, y.data());
    bool alone_is_same = true;
    for (const Size some : {1, 2, 3, 5}) {  // rows by themselves have the bits that they have among all
        if (some > rows) break;
        std::vector<T> few(size_t(some * out));
        of<T>(isa).linear(some, in, out, x.data() + (rows - some) * in, weight.data(), with_bias ? bias.data() : nullptr, few.data());
        alone_is_same = alone_is_same && same_bits(few, std::vector<T>(y.end() - some * out, y.end()));
    }
    of<T>(isa).linear_backward(rows, in, out, x.data(), weight.data(), dy.data(), dx.data(), dweight.data(),
                               with_bias ? dbias.data() : nullptr);
    std::vector<double> right_y(y.size()), right_dx(dx.size()), right_dweight(dweight.size()), right_dbias(dbias.size());
    for (Size r = 0; r < rows; ++r)
        for (Size n = 0; n < out; ++n) {
            const double d = double(dy[size_t(r * out + n)]);
            double& sum = right_y[size_t(r * out + n)] = with_bias ? double(bias[size_t(n)]) : 0;
            right_dbias[size_t(n)] += d;
            for (Size k = 0; k < in; ++k) {
                sum += double(x[size_t(r * in + k)]) * double(weight[size_t(n * in + k)]);
                right_dx[size_t(r * in + k)] += d * double(weight[size_t(n * in + k)]);
                right_dweight[size_t(n * in + k)] += d * double(x[size_t(r * in + k)]);
            }
        }
    const std::string name = std::string(isa.name) + " linear " + std::to_string(rows) + "×" + std::to_string(in) + "×" + std::to_string(out);
    check(alone_is_same, name + ": a row alone");
    check_at_most(distance(y, right_y), limit * (1 + norm(right_y)), name + " y");
    check_at_most(distance(dx, right_dx), limit * (1 + norm(right_dx)), name + " dx");
    check_at_most(distance(dweight, right_dweight), limit * (1 + norm(right_dweight)), name + " dW");
    if (with_bias) check_at_most(distance(dbias, right_dbias), limit * (1 + norm(right_dbias)), name + " db");
}

void test_cells() {
    set_threads(1);  // teams have a part of their own
    for (const Isa& isa : compilations())
        for (const Size rows : {0, 1, 4, 5, 300})
            for (const Size in : {1, 3, 33})
                for (const Size out : {2, 7, 70}) {
                    test_linear<float>(isa, rows, in, out, rows != 4, 2e-6);
                    test_linear<double>(isa, rows, in, out, rows != 4, 1e-13);
                }
    struct Shape {
        Size I, H;
        std::vector<Size> lengths;
        bool resets;
    };
    // Rows, units and inputs below, at and above the edges of tiles and registers; ends and resets.
    const std::vector<Shape> shapes = {
        {1, 1, {3}, false},          {3, 5, {4, 4, 2, 0}, true},       {7, 16, {2, 2, 2, 2, 2, 2, 2}, true},
        {2, 33, {5, 3, 1}, false},   {70, 12, {3, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1}, true}, {4, 3, {0, 0}, false},
    };
    set_threads(3);
    for (const Variant& variant : variants()) {
        for (const Shape& shape : shapes) {
            const Problem p(variant, shape.I, shape.H, shape.lengths, shape.resets, 1);
            const Results<double> right = reference(p, p.values);
            const std::vector<Slope> found = slopes(p, 2);
            for (const Isa& isa : compilations()) {
                const std::string name = std::string(isa.name) + ", " + variant.name + ", H=" + std::to_string(shape.H);
                // h times one weight a gate is the same at any size of h once normalized: nothing is left for floats.
                if (!variant.normalized || shape.H > 1) test_cell<float>(isa, p, right, found, name + ", float");
                test_cell<double>(isa, p, right, found, name + ", double");
            }
        }
        if (variant.drawn || variant.recurrent) continue;  // a stepper never trains
        for (const Isa& isa : compilations())
            for (const Size rows : {1, 2, 19}) {
                const std::string name = std::string(isa.name) + ", " + variant.name + ", " + std::to_string(rows) + " rows";
                test_steps<float>(isa, variant, 5, 19, rows, name + ", float");
                test_steps<double>(isa, variant, 3, 9, rows, name + ", double");
                test_half(isa, variant, rows, name);
            }
    }
}

// ---- Threads ----

// The threads of this process, where the system tells.
int running_threads() {
    int count = 0;
#if defined(__linux__)
    if (std::FILE* status = std::fopen("/proc/self/status", "r")) {
        char line[256];
        while (std::fgets(line, sizeof line, status)) std::sscanf(line, "Threads: %d", &count);
        std::fclose(status);
    }
#endif
    return count;
}

// The bits are the same with any number of threads, for problems that are large enough to divide.
template <class T> void test_threads(const Isa& isa, const Variant& variant, Size I, Size H, const std::vector<Size>& lengths) {
    const std::string name = std::string(isa.name) + ", " + variant.name + ", H=" + std::to_string(H) + (sizeof(T) == 4 ? ", float" : ", double");
    const Problem p(variant, I, H, lengths, true, 3);
    Results<T> first;
    Values<T> first_gradients;
    for (int count = 1; count <= 4; ++count) {
        set_threads(count);
        Run<T> run(isa, p, true);
        const Results<T> found = run.results();
        const Values<T> gradients = run.gradients();
        if (count == 1) first = found, first_gradients = gradients;
        const std::string where = name + " with " + std::to_string(count) + " threads: ";
        check(same_bits(found, first), where + "forward");
        check(same_bits(Run<T>(isa, p, false).results(), first), where + "forward without a tape");
        for (const auto& [weight, numbers] : gradients) check(same_bits(numbers, first_gradients[weight]), where + "gradient of " + weight);
    }
}

void test_threads() {
    set_threads(1);
    const int before = running_threads();
    const std::vector<Size> ragged = {14, 13, 13, 13, 12, 12, 11, 11, 11, 9, 9, 8, 8, 8, 8, 7, 5, 5, 5, 4, 3, 2, 1, 0};
    for (const Isa& isa : compilations()) {
        for (const Variant& variant : variants()) {
            test_threads<float>(isa, variant, 60, 72, ragged);  // rows are divided
            if (std::string(variant.name).find("zoneout") == 0 || std::string(variant.name) == "plain")
                test_threads<double>(isa, variant, 9, 250, {5, 3});  // hidden units are
        }
        for (const Size rows : {1, 50}) {
            const Variant& plain = variants()[0];
            Problem p(plain, 64, 96, std::vector<Size>(rows, 1), false, 4);
            Values<float> values = converted<float>(p.values);
            std::vector<float> first;
            for (int count = 1; count <= 4; ++count) {
                set_threads(count);
                const auto stepper = isa.kernels->of_float.make_stepper({Run<float>::cell_of(p, values)}, rows);
                std::vector<float> h = values["h"], c = values["c"], y(rows * p.P);
                for (int t = 0; t < 3; ++t) stepper->step(values["x"].data(), h.data(), c.data(), y.data());
                if (count == 1) first = h;
                check(same_bits(h, first), std::string(isa.name) + ": steps with " + std::to_string(count) + " threads");
            }
        }
    }
    for (const Isa& isa : compilations()) {
        const Size rows = 300, in = 70, out = 90;
        std::vector<float> x(size_t(rows * in)), weight(size_t(out * in)), dy(size_t(rows * out));
        for (auto* v : {&x, &weight, &dy})
            for (size_t k = 0; k < v->size(); ++k) (*v)[k] = float(std::sin(double(k * k)));
        std::vector<float> first;
        for (int count = 1; count <= 4; ++count) {
            set_threads(count);
            std::vector<float> y(size_t(rows * out)), few(size_t(4 * out)), dx(x.size()), dweight(weight.size()), dbias(size_t{90});
            of<float>(isa).linear(rows, in, out, x.data(), weight.data(), nullptr, y.data());
            of<float>(isa).linear(4, in, out, x.data(), weight.data(), nullptr, few.data());
            of<float>(isa).linear_backward(rows, in, out, x.data(), weight.data(), dy.data(), dx.data(), dweight.data(), dbias.data());
            for (const auto* part : {&few, &dx, &dweight, &dbias}) y.insert(y.end(), part->begin(), part->end());
            if (count == 1) first = y;
            check(same_bits(y, first), std::string(isa.name) + ": a linear layer with " + std::to_string(count) + " threads");
        }
    }
    if (before) check(running_threads() >= before + 3, "the teams were of four");

    // Two callers at once: one has the threads, the other works alone; both get their bits.
    set_threads(2);
    const Problem p(variants()[0], 40, 72, ragged, false, 5);
    const Isa isa = choose_isa();
    const Results<float> right = Run<float>(isa, p, false).results();
    int wrong[3] = {};
    std::vector<std::thread> callers;
    for (int& count : wrong)
        callers.emplace_back([&] {
            for (int k = 0; k < 20; ++k) count += !same_bits(Run<float>(isa, p, false).results(), right);
        });
    for (auto& caller : callers) caller.join();
    check(wrong[0] + wrong[1] + wrong[2] == 0, "callers at the same time");
}

// ---- The pool ----

void nap(int microseconds) { std::this_thread::sleep_for(std::chrono::microseconds(microseconds)); }

// Every member comes once, and the barrier holds back whoever is early.
bool team_works(int size) {
    std::vector<int> came(size, 0);
    std::vector<std::atomic<int>> stage(size);
    std::atomic<bool> good{true};
    int members = 0;
    in_team(size, [&](Team team) {
        ++came[team.index];
        if (team.index == 0) members = team.size;
        for (int turn = 1; turn <= 5; ++turn) {
            stage[team.index].store(turn, std::memory_order_relaxed);
            team.wait();
            for (int k = 0; k < team.size; ++k) {
                const int found = stage[k].load(std::memory_order_relaxed);
                if (found < turn || found > turn + 1) good = false;
            }
        }
    });
    for (int k = 0; k < size; ++k) good = good && came[k] == (k < members);
    return good && members >= 1 && members <= size;
}

void test_exceptions() {
    struct Thrown {};
    for (const int size : {1, 2, 4})
        for (int who = -1; who < size; ++who) {  // −1: all of them
            bool caught = false;
            try {
                in_team(size, [&](Team team) {
                    team.wait();
                    if (team.index == who || who < 0) throw Thrown{};
                    while (true) team.wait();  // released only because another threw
                });
            } catch (const Thrown&) {
                caught = true;
            }
            check(caught, "an exception in member " + std::to_string(who) + " of " + std::to_string(size));
            check(team_works(size), "the team after an exception");
        }
    bool caught = false;
    try {
        in_team(3, [](Team team) {
            if (team.index == 2) throw std::bad_alloc();
        });
    } catch (const std::bad_alloc&) {
        caught = true;
    }
    check(caught, "memory that ran out in a worker");
}

// The child's exit status; 14 (the alarm) where it hangs.
int forked(const std::function<int()>& work) {
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        std::exit(work());  // not _exit: the ends of static objects are part of the test
    }
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

void test_fork() {
    check(team_works(3), "before the fork");
    check(forked([] { return 0; }) == 0, "a child that has nothing to do ends");
    check(forked([] { return team_works(3) && team_works(4) ? 0 : 1; }) == 0, "a child has a team of its own");
    check(forked([] { return forked([] { return team_works(2) ? 0 : 1; }); }) == 0, "a grandchild, too");
    check(team_works(3), "the parent after the fork");

    // While another thread has the team: the child forgets it, the parent goes on.
    std::atomic<bool> inside{false}, leave{false};
    std::thread busy([&] {
        in_team(2, [&](Team team) {
            if (team.index == 0) inside = true;
            spin_until([&] { return leave.load(); });
            team.wait();
        });
    });
    spin_until([&] { return inside.load(); });
    check(forked([] {
        std::atomic<int> members{0};
        in_team(3, [&](Team) { ++members; });
        _exit(members == 3 ? 0 : 1);  // what it forgot is lost: no search for leaks
        return 1;
    }) == 0, "a child of a busy parent has a team of its own");
    leave = true;
    busy.join();
    check(team_works(4), "the busy parent after the fork");
}

void test_pool() {
    for (int size = 1; size <= 6; ++size) check(team_works(size), "a team of " + std::to_string(size));
    bool good = true;
    for (int k = 0; k < 3000; ++k) good = team_works(1 + k % 4) && good;
    check(good, "one team after another");
    for (int k = 0; k < 40; ++k) {  // naps about as long as the threads stay awake
        nap(k * 40);
        good = team_works(2 + k % 3) && good;
    }
    check(good, "teams of threads that have gone to sleep");

    std::atomic<int> alone{0}, inner{0};
    in_team(2, [&](Team) {
        in_team(2, [&](Team team) {
            ++inner;
            alone += team.size == 1;
        });
    });
    check(alone == 2 && inner == 2, "a team within a team");

    std::atomic<bool> all{true};
    std::vector<std::thread> callers;
    for (int k = 0; k < 4; ++k)
        callers.emplace_back([&all, k] {
            for (int n = 0; n < 300; ++n) {
                set_threads(1 + (n + k) % 5);
                if (!team_works(get_threads())) all = false;
            }
        });
    for (auto& caller : callers) caller.join();
    check(all, "callers at the same time, who change the number of threads");
    set_threads(0);
    check(get_threads() == 1, "at least one thread");
    test_exceptions();
    test_fork();
}

}  // namespace

int main(int count, char** names) {
    std::map<std::string, void (*)()> parts = {
        {"functions", [] {
            for (const Isa& isa : compilations()) test_functions<float>(isa, 1e-6), test_functions<double>(isa, 1e-14);
        }},
        {"cells", test_cells},
        {"threads", [] { test_threads(); }},
        {"pool", test_pool},
    };
    std::vector<std::string> wanted(names + 1, names + count);
    if (wanted.empty()) wanted = {"functions", "cells", "threads", "pool"};
    std::string isas;
    for (const Isa& isa : compilations()) isas += std::string(" ") + isa.name;
    std::printf("kernels:%s\n", isas.c_str());
    for (const std::string& name : wanted) {
        if (!parts.count(name)) {
            std::printf("no such part: %s\n", name.c_str());
            return 2;
        }
        parts[name]();
        std::printf("%s: %ld checks so far\n", name.c_str(), passed.load() + failed.load());
    }
    std::printf("%ld passed, %ld failed\n", passed.load(), failed.load());
    return failed ? 1 : 0;
}
