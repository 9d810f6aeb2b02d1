// Matrix products with one side packed into panels.
//
// A panel is C registers wide: for every k the C·WIDTH numbers that belong together stand side by
// side, so that the inner loop reads it straight through. Every entry of a product is one chain of
// multiply-adds in the order of k, whatever the tile it falls into: so results do not depend on
// the number of rows, on blocking or on threads, bit for bit.
#pragma once

#include <algorithm>
#include <type_traits>

#include "vec.hpp"

namespace lstmkit {
namespace LSTMKIT_NAMESPACE {

using Size = std::int64_t;

// A tile has as many accumulators as there are registers to hold them, of 16 or of 32.
constexpr bool MANY_REGISTERS = LSTMKIT_VECTOR_BYTES == 64 || LSTMKIT_MANY_REGISTERS;
constexpr int TILE_ROWS = MANY_REGISTERS ? 6 : 3;
constexpr int PANEL = 4;                    // registers across in a general panel
constexpr Size PANEL_BYTES = 64 * 1024;     // of a panel that the inner loop goes over
constexpr Size NARROW = 3;                  // so few columns are not worth a panel

inline Size round_up(Size n, Size to) { return (n + to - 1) / to * to; }

// Up to WIDTH rows that lie `row` apart → [k][lanes], one k `step` from the next; zeros where no row is.
template <class T, class B>
__attribute__((noinline)) void pack_rows(const T* rows, Size row, Size lanes, Size inner, B* packed, Size step) {
    constexpr int W = WIDTH<T>;
    Size k = 0;
    if constexpr (std::is_same_v<T, B>)
        for (; k + W <= inner; k += W) {
            Vec<T> v[W];
            for (int lane = 0; lane < W; ++lane) v[lane] = lane < lanes ? load(rows + lane * row + k) : Vec<T>{};
            transpose<T, W / 2>(v);
            for (int n = 0; n < W; ++n) store(packed + (k + n) * step, v[n]);
        }
    for (; k < inner; ++k)
        for (int lane = 0; lane < W; ++lane) narrow(packed + k * step + lane, lane < lanes ? rows[lane * row + k] : T(0));
}

// Four gates (or three) of WIDTH hidden units side by side: weight (C·H, K) → [block][k][C][WIDTH].
template <class T, class B>
void pack_gates(const T* weight, Size gates, Size hidden, Size inner, B* packed) {
    constexpr int W = WIDTH<T>;
    for (Size unit = 0; unit < hidden; unit += W)
        for (Size g = 0; g < gates; ++g)
            pack_rows(weight + (g * hidden + unit) * inner, inner, hidden - unit, inner,
                      packed + unit * inner * gates + g * W, gates * W);
}

template <class T> Size packed_gates_size(Size gates, Size hidden, Size inner) {
    return round_up(hidden, WIDTH<T>) * gates * inner;
}

// b (K, N), of whose steps one is 1, → [panel][k][C · WIDTH], the last panel filled with zeros.
template <class T, int C, class B>
void pack_panel(const T* b, Size step_k, Size step_n, Size inner, Size columns, B* packed) {
    constexpr Size across = C * WIDTH<T>;
    if (step_n == 1) {
        for (Size k = 0; k < inner; ++k) {
            const T* row = b + k * step_k;
            B* out = packed + k * across;
            for (Size n = 0; n < columns; ++n) narrow(out + n, row[n]);
            for (Size n = columns; n < across; ++n) narrow(out + n, T(0));
        }
        return;
    }
    constexpr Size piece = 64;  // of k at a time: its lines are in the cache until all registers are written
    for (Size k = 0; k < inner; k += piece)
        for (int c = 0; c < C; ++c)
            pack_rows(b + c * WIDTH<T> * step_n + k, step_n, columns - c * WIDTH<T>, std::min(piece, inner - k),
                      packed + k * across + c * WIDTH<T>, across);
}

template <class T, int C = PANEL> Size panels(Size columns) {
    return round_up(columns, C * WIDTH<T>) / (C * WIDTH<T>);
}
template <class T> Size packed_matrix_size(Size inner, Size columns) {
    return (columns <= NARROW ? columns : round_up(columns, WIDTH<T>)) * inner;
}
// Registers across in panel p: the last one has no more than it needs.
template <class T> int registers_of(Size columns, Size p) {
    return int(std::min<Size>(PANEL, round_up(columns - p * PANEL * WIDTH<T>, WIDTH<T>) / WIDTH<T>));
}

// For `product`: panels, or, of a narrow matrix, its columns one after the other.
template <class T, class B>
void pack_matrix(const T* b, Size step_k, Size step_n, Size inner, Size columns, B* packed) {
    if (columns <= NARROW) {
        for (Size n = 0; n < columns; ++n)
            for (Size k = 0; k < inner; ++k) narrow(packed + n * inner + k, b[k * step_k + n * step_n]);
        return;
    }
    constexpr Size across = PANEL * WIDTH<T>;
    for (Size p = 0; p < panels<T>(columns); ++p) {
        const T* from = b + p * across * step_n;
        B* to = packed + p * across * inner;
        const Size rest = std::min(across, columns - p * across);
        switch (registers_of<T>(columns, p)) {
            case 1: pack_panel<T, 1>(from, step_k, step_n, inner, rest, to); break;
            case 2: pack_panel<T, 2>(from, step_k, step_n, inner, rest, to); break;
            case 3: pack_panel<T, 3>(from, step_k, step_n, inner, rest, to); break;
            default: pack_panel<T, PANEL>(from, step_k, step_n, inner, rest, to);
        }
    }
}

// Where a tile's C registers go: register c to out + c·apart, `lanes` numbers of it.
template <class T> struct Target {
    T* out;
    Size row;        // from one row to the next
    Size apart;      // from one register to the next
    int lanes[8];    // numbers of each register that exist
    bool whole;      // all lanes do
    const T* start = nullptr;  // what a fresh sum starts from: register c at start + c·apart; null: zero
};

// acc[r][c] += Σ_k a(r, k) b(k, c), on top of what the target holds (or of zero).
// A(r, k) stands at a[r · a_row + k · a_step].
template <class T, int R, int C, class B>
INLINE void tile(Size inner, const T* a, Size a_row, Size a_step, const B* b, const Target<T>& to, bool fresh) {
    Vec<T> acc[R][C];
    for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c)
            if (fresh && !to.start) {
                acc[r][c] = Vec<T>{};
            } else {
                const T* from = (fresh ? to.start : to.out + r * to.row) + c * to.apart;
                acc[r][c] = to.whole ? load(from) : load(from, to.lanes[c]);
            }
    for (Size k = 0; k < inner; ++k) {
        Vec<T> w[C];
        for (int c = 0; c < C; ++c) w[c] = widen(b + (k * C + c) * WIDTH<T>);
        for (int r = 0; r < R; ++r) {
            const T s = a[r * a_row + k * a_step];
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

// The same for `rows` rows in tiles of at most M, as even as can be: of 4 rows, 2 + 2 and not 3 + 1,
// because a tile of one row has too few chains to fill the pipeline.
template <class T, int M, int C, class B>
INLINE void tiles(Size rows, Size inner, const T* a, Size a_row, Size a_step, const B* b, Target<T> to, bool fresh) {
    static_assert(M == 3 || M == 6);
    T* const out = to.out;
    Size r = 0;
    for (Size left = (rows + M - 1) / M; left > 0; --left) {
        const Size height = (rows - r + left - 1) / left;
        const T* from = a + r * a_row;
        to.out = out + r * to.row;
        r += height;
        if constexpr (M == 6) {
            if (height == 6) tile<T, 6, C>(inner, from, a_row, a_step, b, to, fresh);
            if (height == 5) tile<T, 5, C>(inner, from, a_row, a_step, b, to, fresh);
            if (height == 4) tile<T, 4, C>(inner, from, a_row, a_step, b, to, fresh);
        }
        if (height == 3) tile<T, 3, C>(inner, from, a_row, a_step, b, to, fresh);
        if (height == 2) tile<T, 2, C>(inner, from, a_row, a_step, b, to, fresh);
        if (height == 1) tile<T, 1, C>(inner, from, a_row, a_step, b, to, fresh);
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
            acc[s][c] = !fresh         ? load(to[s]->out + c * to[s]->apart, to[s]->lanes[c])
                        : to[s]->start ? load(to[s]->start + c * to[s]->apart, to[s]->lanes[c])
                                       : Vec<T>{};
    for (Size k = 0; k < inner; ++k)
        for (int c = 0; c < C; ++c) {
            acc[0][c] += a[k] * widen(b0 + (k * C + c) * WIDTH<T>);
            acc[1][c] += a[k] * widen(b1 + (k * C + c) * WIDTH<T>);
        }
    for (int s = 0; s < 2; ++s)
        for (int c = 0; c < C; ++c) store(to[s]->out + c * to[s]->apart, acc[s][c], to[s]->lanes[c]);
}

// All rows of one panel, in pieces of k that stay in the caches.
template <class T, int C, class B>
void panel_product(Size rows, Size inner, const T* a, Size row, const B* b, const Target<T>& to, bool fresh) {
    const Size piece = std::max<Size>(16, PANEL_BYTES / (C * LSTMKIT_VECTOR_BYTES));
    for (Size k = 0; k < inner; k += piece)
        tiles<T, C <= 2 ? 6 : TILE_ROWS, C>(rows, std::min(piece, inner - k), a + k, row, 1, b + k * C * WIDTH<T>,
                                            to, fresh && k == 0);
}

template <class T> Target<T> gate_target(T* z, const T* bias, Size gates, Size hidden, Size block) {
    const Size at = block * WIDTH<T>;
    const int lanes = int(std::min<Size>(WIDTH<T>, hidden - at));
    Target<T> to{z + at, gates * hidden, hidden, {}, lanes == WIDTH<T>, bias ? bias + at : nullptr};
    for (int c = 0; c < 8; ++c) to.lanes[c] = lanes;
    return to;
}

// z[r, gate, unit] (+)= Σ_k a[r, k] w[gate, unit, k] for the blocks [first, last) of hidden units; a
// fresh sum starts from the bias (gates · H) if there is one.
// `back` goes through the blocks from the last to the first: what an earlier call read last is read
// first, so that of weights larger than the cache a part is still there.
template <class T, int C, class B>
void gate_product_of(Size rows, Size inner, const T* a, Size row, const B* packed, T* z, const T* bias,
                     Size hidden, Size first, Size last, bool fresh, bool back) {
    const Size length = inner * C * WIDTH<T>, across = rows == 1 ? 2 : 1;
    const Size times = (last - first + across - 1) / across;
    for (Size n = 0; n < times; ++n) {
        const Size j = first + (back ? times - 1 - n : n) * across;
        const Target<T> to = gate_target(z, bias, C, hidden, j);
        if (rows > 1)
            panel_product<T, C>(rows, inner, a, row, packed + j * length, to, fresh);
        else if (j + 1 < last)
            tile_of_one_row<T, C>(inner, a, packed + j * length, packed + (j + 1) * length, to,
                                  gate_target(z, bias, C, hidden, j + 1), fresh);
        else
            tile<T, 1, C>(inner, a, row, 1, packed + j * length, to, fresh);
    }
}

template <class T, class B>
void gate_product(Size gates, Size rows, Size inner, const T* a, Size row, const B* packed, T* z, const T* bias,
                  Size hidden, Size first, Size last, bool fresh, bool back) {
    if (gates == 4)
        gate_product_of<T, 4>(rows, inner, a, row, packed, z, bias, hidden, first, last, fresh, back);
    else
        gate_product_of<T, 3>(rows, inner, a, row, packed, z, bias, hidden, first, last, fresh, back);
}

// `registers` of a row, from column `at` on.
template <class T>
Target<T> panel_target(T* out, Size row, Size columns, Size at, int registers, const T* start = nullptr) {
    Target<T> to{out + at, row, WIDTH<T>, {}, columns - at >= registers * WIDTH<T>, start ? start + at : nullptr};
    for (int c = 0; c < registers; ++c) to.lanes[c] = int(std::clamp<Size>(columns - at - c * WIDTH<T>, 0, WIDTH<T>));
    return to;
}

template <class T> INLINE T sum(Vec<T> v) {
    T total = 0;
    for (int k = 0; k < WIDTH<T>; ++k) total += v[k];
    return total;
}

template <class T, class B> T dot(const T* a, const B* b, Size inner) {
    Vec<T> acc[4] = {};
    Size k = 0;
    for (; k + 4 * WIDTH<T> <= inner; k += 4 * WIDTH<T>)
        for (int c = 0; c < 4; ++c) acc[c] += load(a + k + c * WIDTH<T>) * widen(b + k + c * WIDTH<T>);
    Vec<T> total = (acc[0] + acc[1]) + (acc[2] + acc[3]);
    for (; k < inner; k += WIDTH<T>) {
        const int lanes = int(std::min<Size>(WIDTH<T>, inner - k));
        total += load(a + k, lanes) * widen(b + k, lanes);
    }
    return sum<T>(total);
}

// out (rows, columns) = a (rows, inner) · b, packed by pack_matrix: the panels [first, last). If there is
// a `start` (columns), each row starts from it.
template <class T, class B>
void product(Size rows, Size inner, const T* a, Size row, const B* packed, T* out, Size out_row,
             Size columns, Size first, Size last, bool back = false, const T* start = nullptr) {
    if (columns <= NARROW) {
        if (first == 0 && last > 0)
            for (Size r = 0; r < rows; ++r)
                for (Size n = 0; n < columns; ++n)
                    out[r * out_row + n] = dot(a + r * row, packed + n * inner, inner) + (start ? start[n] : T(0));
        return;
    }
    for (Size n = first; n < last; ++n) {
        const Size p = back ? first + last - 1 - n : n;
        const B* b = packed + p * inner * PANEL * WIDTH<T>;
        const int registers = registers_of<T>(columns, p);
        const Target<T> to = panel_target(out, out_row, columns, p * PANEL * WIDTH<T>, registers, start);
        switch (registers) {
            case 1: panel_product<T, 1>(rows, inner, a, row, b, to, true); break;
            case 2: panel_product<T, 2>(rows, inner, a, row, b, to, true); break;
            case 3: panel_product<T, 3>(rows, inner, a, row, b, to, true); break;
            default: panel_product<T, PANEL>(rows, inner, a, row, b, to, true);
        }
    }
}
template <class T, class B>
void product(Size rows, Size inner, const T* a, Size row, const B* packed, T* out, Size out_row, Size columns) {
    product(rows, inner, a, row, packed, out, out_row, columns, Size(0), panels<T>(columns));
}

// out[m · step] = Σ_t a[t, m] b(t) for m in [first, last), in the order of t.
template <class T, class F>
void sum_over_tokens(Size tokens, const T* a, Size a_row, F b, T* out, Size step, Size first, Size last) {
    constexpr int C = 8;
    for (Size m = first; m < last; m += C * WIDTH<T>) {
        const Size n = std::min<Size>(C * WIDTH<T>, last - m);
        Vec<T> acc[C] = {};
        if (n == C * WIDTH<T>) {
            for (Size t = 0; t < tokens; ++t) {
                const T s = b(t);
                for (int c = 0; c < C; ++c) acc[c] += s * load(a + t * a_row + m + c * WIDTH<T>);
            }
        } else {
            for (Size t = 0; t < tokens; ++t)
                for (int c = 0; c * WIDTH<T> < n; ++c)
                    acc[c] += b(t) * load(a + t * a_row + m + c * WIDTH<T>, int(std::min<Size>(WIDTH<T>, n - c * WIDTH<T>)));
        }
        for (Size k = 0; k < n; ++k) out[(m + k) * step] = acc[k / WIDTH<T>][k % WIDTH<T>];
    }
}
// out[m] = Σ_t a[t, m] b[t, m], in the order of t.
template <class T>
void sum_of_products(Size tokens, const T* a, const T* b, Size row, T* out, Size first, Size last) {
    constexpr int C = 8;
    for (Size m = first; m < last; m += C * WIDTH<T>) {
        const Size end = std::min<Size>(m + C * WIDTH<T>, last);
        Vec<T> acc[C] = {};
        for (Size t = 0; t < tokens; ++t)
            each_register<T>(m, end, [&](Size k, int lanes) {
                acc[(k - m) / WIDTH<T>] += load(a + t * row + k, lanes) * load(b + t * row + k, lanes);
            });
        each_register<T>(m, end, [&](Size k, int lanes) { store(out + k, acc[(k - m) / WIDTH<T>], lanes); });
    }
}
template <class T> void sum_rows(Size tokens, const T* a, Size a_row, T* out, Size first, Size last) {
    sum_over_tokens(tokens, a, a_row, [](Size) { return T(1); }, out, Size(1), first, last);
}

// out (m, n) = Σ_t a[t, m] b[t, n] for m in [first, last): a weight's gradient, a sum over tokens.
// `scratch` holds one piece of b in panels and some columns of a, both copied together so that a
// tile reads straight through; a tile is 6 rows high, and as wide as the registers allow.
constexpr Size GRADIENT_PIECE = 256;                     // tokens at a time
constexpr int GRADIENT_PANEL = MANY_REGISTERS ? 4 : 2;   // registers across
constexpr Size GRADIENT_ROWS = 96;                       // rows of the result at a time
// Rows that are copied side by side; whole registers and tiles, so that it does not depend on how many
// threads there are whether a number stands in a whole register.
constexpr Size GRADIENT_GROUP = LSTMKIT_VECTOR_BYTES == 64 ? 48 : 24;
template <class T> Size gradient_scratch(Size columns) {
    return GRADIENT_PIECE * (panels<T, GRADIENT_PANEL>(columns) * GRADIENT_PANEL * WIDTH<T> + GRADIENT_ROWS);
}
template <class T>
void gradient_product(Size tokens, const T* a, Size a_row, const T* b, Size b_row, T* out,
                      Size columns, Size first, Size last, T* scratch) {
    constexpr int C = GRADIENT_PANEL;
    constexpr Size across = C * WIDTH<T>;
    if (columns <= NARROW) {
        for (Size n = 0; n < columns; ++n)
            sum_over_tokens(tokens, a, a_row, [=](Size t) { return b[t * b_row + n]; }, out + n, columns, first, last);
        return;
    }
    T* const packed_b = scratch;
    T* const packed_a = scratch + GRADIENT_PIECE * panels<T, C>(columns) * across;
    if (tokens == 0)
        for (Size m = first; m < last; ++m) std::fill(out + m * columns, out + (m + 1) * columns, T(0));
    for (Size t = 0; t < tokens; t += GRADIENT_PIECE) {
        const Size n = std::min(GRADIENT_PIECE, tokens - t);
        for (Size p = 0; p < panels<T, C>(columns); ++p)
            pack_panel<T, C>(b + t * b_row + p * across, b_row, Size(1), n, std::min(across, columns - p * across),
                             packed_b + p * n * across);
        for (Size block = first; block < last; block += GRADIENT_ROWS) {
            const Size rows = std::min(GRADIENT_ROWS, last - block);
            for (Size m = 0; m < rows; m += GRADIENT_GROUP) {
                const Size some = std::min(GRADIENT_GROUP, rows - m);
                for (Size k = 0; k < n; ++k)
                    std::copy_n(a + (t + k) * a_row + block + m, some, packed_a + m * n + k * some);
            }
            for (Size p = 0; p < panels<T, C>(columns); ++p) {
                Target<T> to = panel_target(out, columns, columns, p * across, C);
                T* const base = to.out;
                for (Size m = 0; m < rows; m += GRADIENT_GROUP) {
                    const Size some = std::min(GRADIENT_GROUP, rows - m);
                    to.out = base + (block + m) * columns;
                    tiles<T, 6, C>(some, n, packed_a + m * n, 1, some, packed_b + p * n * across, to, t == 0);
                }
            }
        }
    }
}

}  // namespace LSTMKIT_NAMESPACE
}  // namespace lstmkit
