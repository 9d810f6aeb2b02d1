// Matrix products with one side packed into panels.
//
// A panel is C registers wide: for every k the C·WIDTH numbers that belong together stand side by
// side, so that the inner loop reads it straight through. Every entry of a product is one chain of
// multiply-adds in the order of k, whatever the tile it falls into: so results do not depend on
// the number of rows, on blocking or on threads, bit for bit.
#pragma once

#include <algorithm>

#include "vec.hpp"

namespace lstmkit {
namespace LSTMKIT_NAMESPACE {

using Size = std::int64_t;

// Rows of a tile: as many accumulators as there are registers to hold them.
constexpr int TILE_ROWS = LSTMKIT_VECTOR_BYTES == 64 || LSTMKIT_MANY_REGISTERS ? 6 : 3;
constexpr int PANEL = 4;                    // registers across in a general panel
constexpr Size PANEL_BYTES = 16 * 1024;     // of a panel that the inner loop goes over: half of L1

inline Size round_up(Size n, Size to) { return (n + to - 1) / to * to; }

// Four gates (or three) of WIDTH hidden units side by side: weight (C·H, K) → [block][k][C][WIDTH].
template <class T, class B>
void pack_gates(const T* weight, Size gates, Size hidden, Size inner, B* packed) {
    constexpr int W = WIDTH<T>;
    const Size blocks = round_up(hidden, W) / W;
    for (Size j = 0; j < blocks; ++j)
        for (Size g = 0; g < gates; ++g)
            for (int lane = 0; lane < W; ++lane) {
                B* out = packed + (j * inner * gates + g) * W + lane;
                const Size unit = j * W + lane;
                if (unit >= hidden) {
                    for (Size k = 0; k < inner; ++k) narrow(out + k * gates * W, T(0));
                    continue;
                }
                const T* row = weight + (g * hidden + unit) * inner;
                for (Size k = 0; k < inner; ++k) narrow(out + k * gates * W, row[k]);
            }
}

template <class T> Size packed_gates_size(Size gates, Size hidden, Size inner) {
    return round_up(hidden, WIDTH<T>) * gates * inner;
}

// b (K, N) by its strides → [panel][k][PANEL · WIDTH], the last panel filled with zeros.
template <class T, class B>
void pack_panel(const T* b, Size step_k, Size step_n, Size inner, Size columns, B* packed) {
    constexpr Size across = PANEL * WIDTH<T>;
    if (step_n == 1) {
        for (Size k = 0; k < inner; ++k) {
            const T* row = b + k * step_k;
            B* out = packed + k * across;
            for (Size n = 0; n < columns; ++n) narrow(out + n, row[n]);
            for (Size n = columns; n < across; ++n) narrow(out + n, T(0));
        }
        return;
    }
    for (Size n = 0; n < across; ++n)
        for (Size k = 0; k < inner; ++k)
            narrow(packed + k * across + n, n < columns ? b[k * step_k + n * step_n] : T(0));
}

template <class T> Size panels(Size columns) {
    return round_up(columns, PANEL * WIDTH<T>) / (PANEL * WIDTH<T>);
}

template <class T, class B>
void pack_matrix(const T* b, Size step_k, Size step_n, Size inner, Size columns, B* packed) {
    constexpr Size across = PANEL * WIDTH<T>;
    for (Size p = 0; p < panels<T>(columns); ++p)
        pack_panel(b + p * across * step_n, step_k, step_n, inner,
                   std::min(across, columns - p * across), packed + p * across * inner);
}

// Where a tile's C registers go: register c to out + c·apart, `lanes` numbers of it.
template <class T> struct Target {
    T* out;
    Size row;        // from one row to the next
    Size apart;      // from one register to the next
    int lanes[8];    // numbers of each register that exist
    bool whole;      // all lanes do
};

// acc[r][c] += Σ_k a(r, k) b(k, c), on top of what the target holds (or of zero).
// A(r, k) stands at a[r·row + k·column].
template <class T, int R, int C, bool Packed, class B>
INLINE void tile(Size inner, const T* a, Size row, const B* b, const Target<T>& to, bool fresh) {
    Vec<T> acc[R][C];
    for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c)
            acc[r][c] = fresh      ? Vec<T>{}
                        : to.whole ? load(to.out + r * to.row + c * to.apart)
                                   : load(to.out + r * to.row + c * to.apart, to.lanes[c]);
    for (Size k = 0; k < inner; ++k) {
        Vec<T> w[C];
        for (int c = 0; c < C; ++c) w[c] = widen(b + (k * C + c) * WIDTH<T>);
        for (int r = 0; r < R; ++r) {
            const T s = Packed ? a[k * R + r] : a[r * row + k];
            for (int c = 0; c < C; ++c) acc[r][c] += s * w[c];
        }
    }
    for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) {
            T* out = to.out + r * to.row + c * to.apart;
            if (to.whole)
                store(out, acc[r][c]);
            else
                store(out, acc[r][c], to.lanes[c]);
        }
}

// One row and two panels at once, so that there are chains enough to fill the pipeline.
template <class T, int C, class B>
INLINE void tile_of_one_row(Size inner, const T* a, const B* b0, const B* b1, const Target<T>& to0,
                            const Target<T>& to1, bool fresh) {
    Vec<T> acc[2][C];
    const Target<T>* to[2] = {&to0, &to1};
    for (int s = 0; s < 2; ++s)
        for (int c = 0; c < C; ++c)
            acc[s][c] = fresh ? Vec<T>{} : load(to[s]->out + c * to[s]->apart, to[s]->lanes[c]);
    for (Size k = 0; k < inner; ++k)
        for (int c = 0; c < C; ++c) {
            acc[0][c] += a[k] * widen(b0 + (k * C + c) * WIDTH<T>);
            acc[1][c] += a[k] * widen(b1 + (k * C + c) * WIDTH<T>);
        }
    for (int s = 0; s < 2; ++s)
        for (int c = 0; c < C; ++c) store(to[s]->out + c * to[s]->apart, acc[s][c], to[s]->lanes[c]);
}

// All rows of one panel, in pieces of k that stay in the first cache.
template <class T, int C, class B>
void panel_product(Size rows, Size inner, const T* a, Size row, const B* b, Target<T> to, bool fresh) {
    const Size piece = std::max<Size>(16, PANEL_BYTES / (C * LSTMKIT_VECTOR_BYTES));
    T* const out = to.out;
    if (inner == 0 && fresh) {
        for (Size r = 0; r < rows; ++r)
            for (int c = 0; c < C; ++c) store(out + r * to.row + c * to.apart, Vec<T>{}, to.lanes[c]);
        return;
    }
    for (Size k = 0; k < inner; k += piece) {
        const Size n = std::min(piece, inner - k);
        const B* from = b + k * C * WIDTH<T>;
        const bool first = fresh && k == 0;
        Size r = 0;
        for (; r + TILE_ROWS <= rows; r += TILE_ROWS) {
            to.out = out + r * to.row;
            tile<T, TILE_ROWS, C, false>(n, a + r * row + k, row, from, to, first);
        }
        to.out = out + r * to.row;
        switch (rows - r) {
            case 5: tile<T, 5, C, false>(n, a + r * row + k, row, from, to, first); break;
            case 4: tile<T, 4, C, false>(n, a + r * row + k, row, from, to, first); break;
            case 3: tile<T, 3, C, false>(n, a + r * row + k, row, from, to, first); break;
            case 2: tile<T, 2, C, false>(n, a + r * row + k, row, from, to, first); break;
            case 1: tile<T, 1, C, false>(n, a + r * row + k, row, from, to, first); break;
        }
    }
}

template <class T> Target<T> gate_target(T* z, Size gates, Size hidden, Size block) {
    const Size at = block * WIDTH<T>;
    const int lanes = int(std::min<Size>(WIDTH<T>, hidden - at));
    Target<T> to{z + at, gates * hidden, hidden, {}, lanes == WIDTH<T>};
    for (int c = 0; c < 8; ++c) to.lanes[c] = lanes;
    return to;
}

// z[r, gate, unit] (+)= Σ_k a[r, k] w[gate, unit, k] for the blocks [first, last) of hidden units.
template <class T, int C, class B>
void gate_product_of(Size rows, Size inner, const T* a, Size row, const B* packed, T* z, Size hidden,
                     Size first, Size last, bool fresh) {
    const Size length = inner * C * WIDTH<T>;
    if (rows == 1) {
        Size j = first;
        for (; j + 2 <= last; j += 2)
            tile_of_one_row<T, C>(inner, a, packed + j * length, packed + (j + 1) * length,
                                  gate_target(z, C, hidden, j), gate_target(z, C, hidden, j + 1), fresh);
        if (j < last)
            tile<T, 1, C, false>(inner, a, row, packed + j * length, gate_target(z, C, hidden, j), fresh);
        return;
    }
    for (Size j = first; j < last; ++j)
        panel_product<T, C>(rows, inner, a, row, packed + j * length, gate_target(z, C, hidden, j), fresh);
}

template <class T, class B>
void gate_product(Size gates, Size rows, Size inner, const T* a, Size row, const B* packed, T* z,
                  Size hidden, Size first, Size last, bool fresh) {
    if (gates == 4)
        gate_product_of<T, 4>(rows, inner, a, row, packed, z, hidden, first, last, fresh);
    else
        gate_product_of<T, 3>(rows, inner, a, row, packed, z, hidden, first, last, fresh);
}

template <class T> Target<T> panel_target(T* out, Size row, Size columns, Size panel) {
    const Size at = panel * PANEL * WIDTH<T>;
    Target<T> to{out + at, row, WIDTH<T>, {}, columns - at >= PANEL * WIDTH<T>};
    for (int c = 0; c < PANEL; ++c)
        to.lanes[c] = int(std::clamp<Size>(columns - at - c * WIDTH<T>, 0, WIDTH<T>));
    return to;
}

// out (rows, columns) = a (rows, inner) · b, packed by pack_matrix.
template <class T, class B>
void product(Size rows, Size inner, const T* a, Size row, const B* packed, T* out, Size out_row,
             Size columns) {
    for (Size p = 0; p < panels<T>(columns); ++p)
        panel_product<T, PANEL>(rows, inner, a, row, packed + p * inner * PANEL * WIDTH<T>,
                                panel_target(out, out_row, columns, p), true);
}

// out (m, n) = Σ_t a[t, m] b[t, n] for m in [first, last): a weight's gradient, a sum over tokens.
// `scratch` holds one piece of b in panels and one tile of a.
constexpr Size GRADIENT_PIECE = 256;   // tokens at a time
constexpr Size GRADIENT_ROWS = TILE_ROWS * 32;  // rows of the result at a time
template <class T> Size gradient_scratch(Size columns) {
    return GRADIENT_PIECE * (panels<T>(columns) * PANEL * WIDTH<T> + GRADIENT_ROWS);
}
template <class T>
void gradient_product(Size tokens, const T* a, Size a_row, const T* b, Size b_row, T* out,
                      Size columns, Size first, Size last, T* scratch) {
    constexpr Size across = PANEL * WIDTH<T>;
    T* const packed_b = scratch;
    T* const packed_a = scratch + GRADIENT_PIECE * panels<T>(columns) * across;
    if (tokens == 0)
        for (Size m = first; m < last; ++m) std::fill(out + m * columns, out + (m + 1) * columns, T(0));
    for (Size t = 0; t < tokens; t += GRADIENT_PIECE) {
        const Size n = std::min(GRADIENT_PIECE, tokens - t);
        pack_matrix(b + t * b_row, b_row, Size(1), n, columns, packed_b);
        for (Size block = first; block < last; block += GRADIENT_ROWS) {
            const Size rows = std::min(GRADIENT_ROWS, last - block);
            const Size whole = rows / TILE_ROWS * TILE_ROWS;
            for (Size k = 0; k < n; ++k) {
                const T* from = a + (t + k) * a_row + block;
                for (Size m = 0; m < whole; m += TILE_ROWS)
                    for (int r = 0; r < TILE_ROWS; ++r)
                        packed_a[m * n + k * TILE_ROWS + r] = from[m + r];
                for (Size m = whole; m < rows; ++m) packed_a[m * n + k] = from[m];
            }
            for (Size p = 0; p < panels<T>(columns); ++p) {
                Target<T> to = panel_target(out, columns, columns, p);
                T* const base = to.out;
                const T* panel = packed_b + p * n * across;
                Size m = 0;
                for (; m < whole; m += TILE_ROWS) {
                    to.out = base + (block + m) * columns;
                    tile<T, TILE_ROWS, PANEL, true>(n, packed_a + m * n, 0, panel, to, t == 0);
                }
                for (; m < rows; ++m) {
                    to.out = base + (block + m) * columns;
                    tile<T, 1, PANEL, true>(n, packed_a + m * n, 0, panel, to, t == 0);
                }
            }
        }
    }
}

}  // namespace LSTMKIT_NAMESPACE
}  // namespace lstmkit
