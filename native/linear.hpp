// y = x Wᵀ + b, and back: the layer that stands on an LSTM.
//
// It is here for the sake of the LSTM. The threads of NumPy's library spin for a while after each of
// its products, on the processors that the kernels then want: that made training twice as slow.
#pragma once

#include "gemm.hpp"
#include "memory.hpp"
#include "shares.hpp"

namespace lstmkit {
namespace LSTMKIT_NAMESPACE {

// So few rows do not pay for a packed copy of W: it is packed a piece at a time, for use at once.
constexpr Size FEW_ROWS = 4;
constexpr Size PIECE = 64;  // inputs

// One panel of `product`, in the same order of sums: a row has the same bits alone and among many.
template <class T, int C>
void few_rows(Size rows, Size in, Size out, const T* x, const T* weight, const T* bias, T* y, Size panel) {
    const Size at = panel * PANEL * WIDTH<T>;
    const Target<T> to = panel_target(y, out, out, at, C, bias);
    alignas(64) T packed[PIECE * C * WIDTH<T>];
    for (Size k = 0; k < in; k += PIECE) {
        const Size n = std::min(PIECE, in - k);
        pack_panel<T, C>(weight + at * in + k, Size(1), in, n, std::min<Size>(C * WIDTH<T>, out - at), packed);
        panel_product<T, C>(rows, n, x + k, in, packed, to, k == 0);
    }
}

template <class T>
void linear(Size rows, Size in, Size out, const T* x, const T* weight, const T* bias, T* y) {
    const int size = members(rows * in * out);
    if (rows <= FEW_ROWS && out > NARROW) {
        in_pieces(size, [&](Team team) {
            const Share own = share(panels<T>(out), 1, team);
            for (Size p = own.first; p < own.last; ++p) switch (registers_of<T>(out, p)) {
                case 1: few_rows<T, 1>(rows, in, out, x, weight, bias, y, p); break;
                case 2: few_rows<T, 2>(rows, in, out, x, weight, bias, y, p); break;
                case 3: few_rows<T, 3>(rows, in, out, x, weight, bias, y, p); break;
                default: few_rows<T, PANEL>(rows, in, out, x, weight, bias, y, p);
            }
        });
        return;
    }
    Buffer<T> packed(packed_matrix_size<T>(in, out));
    pack_matrix(weight, Size(1), in, in, out, packed.data());
    in_pieces(size, [&](Team team) {
        const Share own = share(rows, 2 * TILE_ROWS, team);
        for (Size r = own.first; r < own.last; r += CHUNK)
            product(std::min(CHUNK, own.last - r), in, x + r * in, in, packed.data(), y + r * out, out, out, Size(0),
                    panels<T>(out), false, bias);
    });
}

// dx = dy W, dW = dyᵀ x, db = Σ dy; db is null where there is no bias.
template <class T>
void linear_backward(Size rows, Size in, Size out, const T* x, const T* weight, const T* dy, T* dx, T* dweight, T* dbias) {
    Buffer<T> packed(packed_matrix_size<T>(out, in));
    pack_matrix(weight, in, Size(1), out, in, packed.data());
    in_pieces(members(2 * rows * in * out), [&](Team team) {
        const Share outputs = share(out, GRADIENT_GROUP, team), own = share(rows, 2 * TILE_ROWS, team);
        if (dbias) sum_rows(rows, dy, out, dbias, outputs.first, outputs.last);
        Buffer<T> scratch(gradient_scratch<T>(in));
        gradient_product(rows, dy, out, x, in, dweight, in, outputs.first, outputs.last, scratch.data());
        for (Size r = own.first; r < own.last; r += CHUNK)
            product(std::min(CHUNK, own.last - r), out, dy + r * out, out, packed.data(), dx + r * in, in, in);
    });
}

}  // namespace LSTMKIT_NAMESPACE
}  // namespace lstmkit
