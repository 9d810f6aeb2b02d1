// One cell over time. This header is the contract between the kernels and everybody else.
//
// All arrays are dense and row-major. N sequences, longest first; `sizes[t]` of them run at step t
// and the rows of a step follow those of the step before, so there are `tokens` = Σ sizes rows in
// all (see lstmkit/engine/packing.py). G = 4 gates in the order i, f, g, o, or 3 (i, g, o) when
// they are coupled. P is the size of h: H without a projection. `in` may not overlap `out`.
#pragma once

#include <cstdint>

namespace lstmkit {

using Size = std::int64_t;

// In the order of ACTIVATIONS in lstmkit/cell.py, where their numbers are named.
enum class Activation : int {
    sigmoid, tanh, relu, hard_sigmoid, softsign, identity, affine, leaky_relu, thresholded_relu, scaled_tanh, elu, softplus
};
constexpr int ACTIVATIONS = 12;

// An activation with its numbers; 0 where it has none.
template <class T> struct Function {
    Activation kind;
    T alpha, beta;
};

template <class T> struct Cell {
    Size input, hidden, output, gates;  // I, H, P, G
    bool coupled, projected, normalized;
    bool half_weights;                  // the matrices are bfloat16 numbers: pack them so (float only)
    T cell_clip, gate_clip;             // 0: none
    T zoneout_c, zoneout_h;             // 0: none
    Function<T> gate, candidate, squash;
    // Weights; a null pointer where the cell has none.
    const T* weight_ih;     // (G·H, I)
    const T* weight_hh;     // (G·H, P)
    const T* bias;          // (G·H)
    const T* peephole;      // (G−1, H)
    const T* weight_hr;     // (P, H)
    const T* norm_ih_gain;  // (G·H)
    const T* norm_hh_gain;  // (G·H)
    const T* norm_c_gain;   // (H)
    const T* norm_c_shift;  // (H)
    const T* h_0;           // (P): where a reset starts again; zero if null
    const T* c_0;           // (H)
    bool plain() const {
        return gates == 4 && !peephole && !normalized && !projected && cell_clip == 0 &&
               gate_clip == 0 && zoneout_c == 0 && zoneout_h == 0 && gate.kind == Activation::sigmoid &&
               candidate.kind == Activation::tanh && squash.kind == Activation::tanh;
    }
};

// What the forward pass writes and the backward pass reads. `taped` says whether it is complete; if
// not, z is scratch for one block of tokens and the pointers after `c` are null.
template <class T> struct Tape {
    Size rows, tokens, steps;
    const Size* sizes;             // (steps)
    const T* x;                    // (tokens, I)      in
    const std::uint8_t* reset;     // (tokens)         in, or null
    const T* recurrent_mask;       // (N, P)           in, or null
    const T* zoneout_c;            // (tokens, H)      in, or null: the expectation
    const T* zoneout_h;            // (tokens, P)      in, or null
    bool taped;
    T* gates;                      // (tokens, G·H)    out: after their activations
    T* h;                          // (N + tokens, P)  the first N rows in, the others out
    T* c;                          // (N + tokens, H)  the same; without a tape (N, H), in and out
    T* squashed;                   // (tokens, H)      out: act(c)
    T* ih_hat;                     // (tokens, G·H)    out, layer norm: the normalized products
    T* ih_inverse;                 // (tokens)
    T* hh_hat;                     // (tokens, G·H)
    T* hh_inverse;                 // (tokens)
    T* c_hat;                      // (tokens, H)
    T* c_inverse;                  // (tokens)
    std::uint8_t* gates_inside;    // (tokens, G·H)    out, gate clip: 1 where it did not clip
    std::uint8_t* c_inside;        // (tokens, H)      out, cell clip
};

template <class T> struct Gradients {
    const T* dy;    // (tokens, P)  in
    T* dh;          // (N, P)       in: in the final state; out: in the initial state
    T* dc;          // (N, H)
    T* dx;          // (tokens, I)  out
    T* weight_ih;   // as in Cell   out; null where the cell has none
    T* weight_hh;
    T* bias;
    T* peephole;
    T* weight_hr;
    T* norm_ih_gain;
    T* norm_hh_gain;
    T* norm_c_gain;
    T* norm_c_shift;
    T* h_0;
    T* c_0;
};

}  // namespace lstmkit
