// The kernels: compiled once for each instruction set, see CMakeLists.txt. Contract: cell.hpp.
#include "kernel.hpp"

#include <cstdlib>
#include <deque>
#include <memory>
#include <new>
#include <vector>

#include "pointwise.hpp"
#include "pool.hpp"

namespace lstmkit {
namespace LSTMKIT_NAMESPACE {

namespace {

template <class T> class Buffer {
  public:
    explicit Buffer(Size count) {
        if (count <= 0) return;
        data_ = static_cast<T*>(std::aligned_alloc(64, size_t(round_up(count * Size(sizeof(T)), 64))));
        if (!data_) throw std::bad_alloc();
    }
    ~Buffer() { std::free(data_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    T* data() const { return data_; }

  private:
    T* data_ = nullptr;
};

template <class T> Size matrix_size(Size inner, Size columns) {
    return panels<T>(columns) * PANEL * WIDTH<T> * inner;
}
template <class T> Size blocks(const Cell<T>& cell) { return round_up(cell.hidden, WIDTH<T>) / WIDTH<T>; }

// [first, last) of n things for one member, in whole multiples of `grain`.
struct Share {
    Size first, last;
};
Share share(Size n, Size grain, Team team) {
    const Size pieces = round_up(n, grain) / grain;
    return {std::min(n, pieces * team.index / team.size * grain),
            std::min(n, pieces * (team.index + 1) / team.size * grain)};
}

constexpr Size CHUNK = 96;  // tokens whose gates stay in the second cache

// z = x W_ihᵀ + b for tokens [first, last), normalized if the cell asks for it.
template <class T, class B>
void project(const Cell<T>& cell, const B* packed_ih, const Tape<T>& tape, Size first, Size last, T* z,
             Size z_first) {
    const Size GH = cell.gates * cell.hidden;
    for (Size at = first; at < last; at += CHUNK) {
        const Size n = std::min(CHUNK, last - at);
        T* out = z + (at - z_first) * GH;
        const bool biased = cell.bias && !cell.normalized;
        if (biased)
            for (Size r = 0; r < n; ++r) std::copy(cell.bias, cell.bias + GH, out + r * GH);
        gate_product(cell.gates, n, cell.input, tape.x + at * cell.input, cell.input, packed_ih, out,
                     cell.hidden, Size(0), blocks(cell), !biased);
        if (!cell.normalized) continue;
        Buffer<T> spare(tape.taped ? 0 : GH);
        for (Size r = 0; r < n; ++r) {
            T* row = out + r * GH;
            T* hat = tape.taped ? tape.ih_hat + (at + r) * GH : spare.data();
            const T inverse = normalize(row, GH, hat);
            if (tape.taped) tape.ih_inverse[at + r] = inverse;
            for (Size k = 0; k < GH; ++k) row[k] = hat[k] * cell.norm_ih_gain[k] + (cell.bias ? cell.bias[k] : T(0));
        }
    }
}

// Old states of rows as the step sees them: after a reset, and h after its mask.
template <class T> struct Seen {
    const T* h;  // what W_hh multiplies
    const T* h_old;
    const T* c_old;
};
template <class T>
Seen<T> see(const Cell<T>& cell, const Tape<T>& tape, Size before, Size start, Size first_row, Size n,
            T* spare_h, T* spare_mask, T* spare_c) {
    const Size P = cell.output, H = cell.hidden;
    Seen<T> seen{tape.h + before * P, tape.h + before * P, tape.c + before * H};
    if (tape.reset && std::any_of(tape.reset + start, tape.reset + start + n, [](auto b) { return b; })) {
        for (Size r = 0; r < n; ++r) {
            const bool fresh = tape.reset[start + r];
            for (Size k = 0; k < P; ++k)
                spare_h[r * P + k] = !fresh ? seen.h_old[r * P + k] : cell.h_0 ? cell.h_0[k] : T(0);
            for (Size k = 0; k < H; ++k)
                spare_c[r * H + k] = !fresh ? seen.c_old[r * H + k] : cell.c_0 ? cell.c_0[k] : T(0);
        }
        seen = {spare_h, spare_h, spare_c};
    }
    if (tape.recurrent_mask) {
        const T* mask = tape.recurrent_mask + first_row * P;
        for (Size k = 0; k < n * P; ++k) spare_mask[k] = seen.h[k] * mask[k];
        seen.h = spare_mask;
    }
    return seen;
}

// What a time loop needs beside its arguments, so many numbers a row; null where the cell does not.
template <class T> struct Workspace {
    T *spare_h, *spare_mask, *spare_c, *raw, *hat, *m;

    Workspace from(const Cell<T>& cell, Size row) const {
        const Size GH = cell.gates * cell.hidden;
        const auto at = [row](T* p, Size width) { return p ? p + row * width : nullptr; };
        return {at(spare_h, cell.output), at(spare_mask, cell.output), at(spare_c, cell.hidden),
                at(raw, GH), at(hat, GH), at(m, cell.hidden)};
    }
};

template <class T> class OwnWorkspace {
  public:
    OwnWorkspace(const Cell<T>& cell, const Tape<T>& tape, Size rows)
        : spare_h_(tape.reset ? rows * cell.output : 0),
          spare_mask_(tape.recurrent_mask ? rows * cell.output : 0),
          spare_c_(tape.reset ? rows * cell.hidden : 0),
          raw_(cell.normalized ? rows * cell.gates * cell.hidden : 0),
          hat_(cell.normalized && !tape.taped ? rows * cell.gates * cell.hidden : 0),
          m_(cell.projected ? rows * cell.hidden : 0) {}
    Workspace<T> view() const {
        return {spare_h_.data(), spare_mask_.data(), spare_c_.data(), raw_.data(), hat_.data(), m_.data()};
    }

  private:
    Buffer<T> spare_h_, spare_mask_, spare_c_, raw_, hat_, m_;
};

// The time loop over steps [first_step, last_step) for rows [rows.first, rows.last) and the blocks
// of hidden units [units.first, units.last). If the units are divided, members meet at each step.
template <class T, class B>
void run_steps(const Cell<T>& cell, const B* packed_hh, const B* packed_hr, const Tape<T>& tape, T* z,
               Size z_first, Size first_step, Size last_step, Size first_token, Share rows, Share units,
               Barrier* barrier, Workspace<T> work) {
    const Size H = cell.hidden, P = cell.output, G = cell.gates, GH = G * H;
    const bool plain = cell.plain(), whole_rows = !barrier;
    T *const raw = work.raw, *const hat = work.hat, *const m = work.m;

    Size start = first_token;
    Size before = first_step ? tape.rows + first_token - tape.sizes[first_step - 1] : 0;
    for (Size t = first_step; t < last_step; ++t) {
        const Size n = std::min(tape.sizes[t], rows.last) - rows.first;
        if (n > 0) {
            const Size at = start + rows.first;
            const Seen<T> seen = see(cell, tape, before + rows.first, at, rows.first, n, work.spare_h,
                                     work.spare_mask, work.spare_c);
            T* z_t = z + (at - z_first) * GH;
            if (!cell.normalized) {
                gate_product(G, n, P, seen.h, P, packed_hh, z_t, H, units.first, units.last, false);
            } else {
                gate_product(G, n, P, seen.h, P, packed_hh, raw, H, units.first, units.last, true);
                for (Size r = 0; r < n; ++r) {
                    T* hat_r = tape.taped ? tape.hh_hat + (at + r) * GH : hat;
                    const T inverse = normalize(raw + r * GH, GH, hat_r);
                    if (tape.taped) tape.hh_inverse[at + r] = inverse;
                    for (Size k = 0; k < GH; ++k) z_t[r * GH + k] += hat_r[k] * cell.norm_hh_gain[k];
                }
            }
            for (Size r = 0; r < n; ++r) {
                const Size token = at + r;
                T* const h = tape.h + (tape.rows + token) * P;
                Row<T> row{z_t + r * GH, seen.h_old + r * P, seen.c_old + r * H, h,
                           cell.projected ? m + r * H : h, tape.c + (tape.rows + token) * H,
                           tape.taped ? tape.squashed + token * H : nullptr,
                           tape.zoneout_c ? tape.zoneout_c + token * H : nullptr,
                           tape.zoneout_h ? tape.zoneout_h + token * P : nullptr,
                           tape.gates_inside ? tape.gates_inside + token * GH : nullptr,
                           tape.c_inside ? tape.c_inside + token * H : nullptr};
                for (Size j = units.first; j < units.last; ++j) {
                    const Size unit = j * WIDTH<T>;
                    const int lanes = int(std::min<Size>(WIDTH<T>, H - unit));
                    if (plain)
                        plain_forward(H, row, unit, lanes);
                    else
                        forward_to_c(cell, row, unit, lanes);
                }
                if (plain) continue;
                T* hat_r = nullptr;
                if (cell.normalized) {
                    hat_r = tape.taped ? tape.c_hat + token * H : hat;
                    const T inverse = normalize(row.c, H, hat_r);
                    if (tape.taped) tape.c_inverse[token] = inverse;
                }
                for (Size j = units.first; j < units.last; ++j) {
                    const Size unit = j * WIDTH<T>;
                    const int lanes = int(std::min<Size>(WIDTH<T>, H - unit));
                    Vec<T> c = load((hat_r ? hat_r : row.c) + unit, lanes);
                    if (hat_r) c = c * load(cell.norm_c_gain + unit, lanes) + load(cell.norm_c_shift + unit, lanes);
                    forward_from_c(cell, row, c, unit, lanes);
                }
            }
            if (cell.projected)
                product(n, H, m, H, packed_hr, tape.h + (tape.rows + at) * P, P, P);
            if (cell.zoneout_h != 0) {
                const Size from = whole_rows ? 0 : units.first * WIDTH<T>;
                const Size to = whole_rows ? P : std::min(H, units.last * WIDTH<T>);
                for (Size r = 0; r < n; ++r)
                    for (Size k = from; k < to; ++k) {
                        const T kept = tape.zoneout_h ? tape.zoneout_h[(at + r) * P + k] : cell.zoneout_h;
                        T& h = tape.h[(tape.rows + at + r) * P + k];
                        h = kept * seen.h_old[r * P + k] + (T(1) - kept) * h;
                    }
            }
        }
        before = tape.rows + start;
        start += tape.sizes[t];
        if (barrier) barrier->wait();
    }
}

// How many members a piece of work is worth: a meeting costs about as much as this many products.
constexpr Size WORTH = 400000;
int members(Size work) { return int(std::clamp<Size>(work / WORTH, 1, get_threads())); }

constexpr Size BLOCK_BYTES = 4 << 20;  // of gates at a time when nothing is kept

// The weights in the order in which the forward kernels read them, as B: T, or BFloat.
template <class T, class B> struct Packed {
    explicit Packed(const Cell<T>& cell)
        : ih(packed_gates_size<T>(cell.gates, cell.hidden, cell.input)),
          hh(packed_gates_size<T>(cell.gates, cell.hidden, cell.output)),
          hr(cell.projected ? matrix_size<T>(cell.hidden, cell.output) : 0) {
        pack_gates(cell.weight_ih, cell.gates, cell.hidden, cell.input, ih.data());
        pack_gates(cell.weight_hh, cell.gates, cell.hidden, cell.output, hh.data());
        if (cell.projected)
            pack_matrix(cell.weight_hr, Size(1), cell.hidden, cell.hidden, cell.output, hr.data());
    }
    Buffer<B> ih, hh, hr;
};

template <class T, class B> void forward_with(const Cell<T>& cell, const Tape<T>& tape) {
    const Size H = cell.hidden, P = cell.output, GH = cell.gates * H;
    if (tape.tokens == 0) return;
    const Packed<T, B> packed(cell);
    const Size block = tape.taped ? tape.tokens : std::max<Size>(tape.sizes[0], BLOCK_BYTES / (GH * Size(sizeof(T))));
    Buffer<T> spare(tape.taped ? 0 : std::min(block, tape.tokens) * GH);
    T* const z = tape.taped ? tape.gates : spare.data();

    Size step = 0, token = 0;
    while (step < tape.steps) {
        Size last_step = step, last_token = token;
        while (last_step < tape.steps && last_token + tape.sizes[last_step] - token <= block)
            last_token += tape.sizes[last_step++];
        const Size n = last_token - token, rows = tape.sizes[step];
        const bool units_divide = !cell.normalized && !cell.projected;
        // Rows are divided where each member gets a few; else hidden units, who meet at each step.
        const bool by_units = units_divide && rows < 2 * TILE_ROWS;
        const Size work = by_units ? (P * GH * rows) * 8 : n * GH * (P + cell.input) / 4;
        const int size = by_units || rows > 1 ? members(work) : 1;
        in_team(size, [&](Team team) {
            const Share tokens = share(n, CHUNK, team);
            project(cell, packed.ih.data(), tape, token + tokens.first, token + tokens.last, z, token);
            team.barrier->wait();
            const Share own_rows = by_units ? Share{0, rows} : share(rows, 1, team);
            const Share own_units = by_units ? share(blocks(cell), 1, team) : Share{0, blocks(cell)};
            const OwnWorkspace<T> work(cell, tape, own_rows.last - own_rows.first);
            run_steps(cell, packed.hh.data(), packed.hr.data(), tape, z, token, step, last_step, token,
                      own_rows, own_units, by_units && team.size > 1 ? team.barrier : nullptr, work.view());
        });
        step = last_step, token = last_token;
    }
}


template <class T> void forward(const Cell<T>& cell, const Tape<T>& tape) {
    if constexpr (sizeof(T) == sizeof(float))
        if (cell.half_weights) return forward_with<T, BFloat>(cell, tape);
    forward_with<T, T>(cell, tape);
}

// From dm (the gradient in o ∘ squashed) to the gradient in what act() saw, and dz_o's first factor.
template <class T>
INLINE void backward_from_m(const Cell<T>& cell, const T* gates, const T* squashed, const T* dm, T* dz,
                            T* dseen, Size at, int lanes) {
    const Size last = (cell.gates - 1) * cell.hidden;
    const Vec<T> o = load(gates + last + at, lanes), s = load(squashed + at, lanes);
    const Vec<T> d = load(dm + at, lanes);
    store(dz + last + at, d * s, lanes);
    store(dseen + at, d * o * slope<T>(cell.squash, s), lanes);
}

// The rest: from the gradient in c (dc, to which dseen is added) to dz and the gradient in c'.
template <class T>
INLINE void backward_to_z(const Cell<T>& cell, const T* gates, const T* c_old, const T* zoneout_c,
                          const std::uint8_t* gates_inside, const std::uint8_t* c_inside,
                          const T* dseen, T* dc_row, T* dz_row, Size at, int lanes) {
    const Size H = cell.hidden, last = cell.gates - 1;
    const T* a = gates + at;
    T* dz = dz_row + at;
    const Vec<T> i = load(a, lanes), g = load(a + (last - 1) * H, lanes), o = load(a + last * H, lanes);
    const Vec<T> old = load(c_old + at, lanes);
    Vec<T> dc = load(dc_row + at, lanes) + load(dseen + at, lanes);
    Vec<T> dz_o = load(dz + last * H, lanes) * slope<T>(cell.gate, o);
    if (cell.gate_clip != 0) dz_o = masked<T>(dz_o, gates_inside + last * H + at, lanes);
    if (cell.peephole) dc += dz_o * load(cell.peephole + (last - 1) * H + at, lanes);
    Vec<T> dc_kept{};
    if (cell.zoneout_c != 0) {
        const Vec<T> kept = zoneout_c ? load(zoneout_c + at, lanes) : all(cell.zoneout_c);
        dc_kept = kept * dc;
        dc = (T(1) - kept) * dc;
    }
    if (cell.cell_clip != 0) dc = masked<T>(dc, c_inside + at, lanes);
    Vec<T> dz_i, dz_f{}, dz_g = dc * i * slope<T>(cell.candidate, g), dc_old;
    if (cell.coupled) {
        dz_i = dc * (g - old) * slope<T>(cell.gate, i);
        dc_old = dc * (T(1) - i);
    } else {
        const Vec<T> f = load(a + H, lanes);
        dz_i = dc * g * slope<T>(cell.gate, i);
        dz_f = dc * old * slope<T>(cell.gate, f);
        dc_old = dc * f;
    }
    dc_old += dc_kept;
    if (cell.gate_clip != 0) {
        dz_i = masked<T>(dz_i, gates_inside + at, lanes);
        if (!cell.coupled) dz_f = masked<T>(dz_f, gates_inside + H + at, lanes);
        dz_g = masked<T>(dz_g, gates_inside + (last - 1) * H + at, lanes);
    }
    if (cell.peephole) {
        dc_old += dz_i * load(cell.peephole + at, lanes);
        if (!cell.coupled) dc_old += dz_f * load(cell.peephole + H + at, lanes);
    }
    store(dz, dz_i, lanes);
    if (!cell.coupled) store(dz + H, dz_f, lanes);
    store(dz + (last - 1) * H, dz_g, lanes);
    store(dz + last * H, dz_o, lanes);
    store(dc_row + at, dc_old, lanes);
}

// Arrays of one backward pass that all members share.
template <class T> struct Shared {
    T* dz;          // (tokens, G·H): gradient in z
    T* dr;          // (tokens, G·H): gradient in h' W_hhᵀ; dz itself without layer norm
    T* dseen;       // (tokens, H) with layer norm
    T* dout;        // (tokens, P) with a projection: gradient in its output
    T* seen;        // (tokens, P): h' as W_hh saw it
    T* reset_dh;    // (resets, P), (resets, H): gradient in the states that a reset put there
    T* reset_dc;
    const Size* reset_index;  // (tokens)
    const T* packed_hh;       // (G·H → P)
    const T* packed_hr;       // (P → H)
};

template <class T>
void run_back(const Cell<T>& cell, const Tape<T>& tape, const Gradients<T>& out, const Shared<T>& shared,
              Share rows) {
    const Size H = cell.hidden, P = cell.output, GH = cell.gates * H, W = WIDTH<T>;
    const Size most = rows.last - rows.first;
    if (most <= 0) return;
    const bool spare = tape.reset || tape.recurrent_mask;
    Buffer<T> spare_h(spare ? most * P : 0), spare_mask(spare ? most * P : 0), spare_c(spare ? most * H : 0);
    Buffer<T> dm(cell.projected ? most * H : 0), dh_new(most * P), dseen_row(H);
    Buffer<T> dh_in(cell.zoneout_h != 0 ? most * P : 0);
    Size start = tape.tokens;
    for (Size t = tape.steps; t-- > 0;) {
        start -= tape.sizes[t];
        const Size n = std::min(tape.sizes[t], rows.last) - rows.first;
        if (n <= 0) continue;
        const Size at = start + rows.first;
        const Size before = (t ? tape.rows + start - tape.sizes[t - 1] : 0) + rows.first;
        const Seen<T> seen = see(cell, tape, before, at, rows.first, n, spare_h.data(), spare_mask.data(),
                                 spare_c.data());
        if (shared.seen) std::copy(seen.h, seen.h + n * P, shared.seen + at * P);
        T* dh = out.dh + rows.first * P;
        T* dc = out.dc + rows.first * H;
        for (Size k = 0; k < n * P; ++k) dh[k] += out.dy[at * P + k];
        const T* dout = dh;
        if (cell.zoneout_h != 0) {
            for (Size k = 0; k < n * P; ++k) {
                const T kept = tape.zoneout_h ? tape.zoneout_h[at * P + k] : cell.zoneout_h;
                dh_in.data()[k] = (T(1) - kept) * dh[k];
                dh[k] *= kept;
            }
            dout = dh_in.data();
        }
        const T* dm_ = dout;
        if (cell.projected) {
            std::copy(dout, dout + n * P, shared.dout + at * P);
            product(n, P, dout, P, shared.packed_hr, dm.data(), H, H);
            dm_ = dm.data();
        }
        for (Size r = 0; r < n; ++r) {
            const Size token = at + r;
            const T* gates = tape.gates + token * GH;
            T* dz = shared.dz + token * GH;
            T* dseen = cell.normalized ? shared.dseen + token * H : dseen_row.data();
            for (Size unit = 0; unit < H; unit += W)
                backward_from_m(cell, gates, tape.squashed + token * H, dm_ + r * H, dz, dseen, unit,
                                int(std::min<Size>(W, H - unit)));
            if (cell.normalized) {
                normalize_backward(dseen, cell.norm_c_gain, tape.c_hat + token * H, tape.c_inverse[token], H,
                                   dseen_row.data());
                dseen = dseen_row.data();
            }
            for (Size unit = 0; unit < H; unit += W)
                backward_to_z(cell, gates, seen.c_old + r * H, tape.zoneout_c ? tape.zoneout_c + token * H : nullptr,
                              tape.gates_inside ? tape.gates_inside + token * GH : nullptr,
                              tape.c_inside ? tape.c_inside + token * H : nullptr, dseen, dc + r * H, dz, unit,
                              int(std::min<Size>(W, H - unit)));
            if (cell.normalized)
                normalize_backward(dz, cell.norm_hh_gain, tape.hh_hat + token * GH, tape.hh_inverse[token], GH,
                                   shared.dr + token * GH);
        }
        product(n, GH, shared.dr + at * GH, GH, shared.packed_hh, dh_new.data(), P, P);
        if (tape.recurrent_mask)
            for (Size k = 0; k < n * P; ++k) dh_new.data()[k] *= tape.recurrent_mask[rows.first * P + k];
        if (cell.zoneout_h != 0)
            for (Size k = 0; k < n * P; ++k) dh[k] += dh_new.data()[k];
        else
            std::copy(dh_new.data(), dh_new.data() + n * P, dh);
        if (!tape.reset) continue;
        for (Size r = 0; r < n; ++r) {
            if (!tape.reset[at + r]) continue;
            const Size k = shared.reset_index[at + r];
            if (shared.reset_dh) {
                std::copy(dh + r * P, dh + (r + 1) * P, shared.reset_dh + k * P);
                std::copy(dc + r * H, dc + (r + 1) * H, shared.reset_dc + k * H);
            }
            std::fill(dh + r * P, dh + (r + 1) * P, T(0));
            std::fill(dc + r * H, dc + (r + 1) * H, T(0));
        }
    }
}

// out[k] = Σ_token a[token, k] · b[token, k] (or of a alone), k in [first, last), in order of token.
template <class T>
void sum_over_tokens(Size tokens, const T* a, const T* b, Size row_a, Size row_b, T* out, Size first, Size last) {
    std::fill(out + first, out + last, T(0));
    for (Size t = 0; t < tokens; ++t)
        for (Size k = first; k < last; ++k) out[k] += b ? a[t * row_a + k] * b[t * row_b + k] : a[t * row_a + k];
}

// dp_i = Σ dz_i ∘ c', dp_f = Σ dz_f ∘ c', dp_o = Σ dz_o ∘ c, units [first, last).
template <class T>
void peephole_gradient(const Cell<T>& cell, const Tape<T>& tape, const T* dz, T* out, Size first, Size last) {
    const Size H = cell.hidden, G = cell.gates, GH = G * H;
    for (Size g = 0; g < G - 1; ++g) std::fill(out + g * H + first, out + g * H + last, T(0));
    Size start = 0, before = 0;
    for (Size t = 0; t < tape.steps; ++t) {
        for (Size r = 0; r < tape.sizes[t]; ++r) {
            const Size token = start + r;
            const bool fresh = tape.reset && tape.reset[token];
            const T* d = dz + token * GH;
            const T* old = fresh ? cell.c_0 : tape.c + (before + r) * H;  // null: zeros
            const T* now = tape.c + (tape.rows + token) * H;
            for (Size k = first; k < last; ++k) {
                if (old) {
                    out[k] += d[k] * old[k];
                    if (!cell.coupled) out[H + k] += d[H + k] * old[k];
                }
                out[(G - 2) * H + k] += d[(G - 1) * H + k] * now[k];
            }
        }
        before = tape.rows + start;
        start += tape.sizes[t];
    }
}

template <class T> void backward(const Cell<T>& cell, const Tape<T>& tape, const Gradients<T>& out) {
    const Size I = cell.input, H = cell.hidden, P = cell.output, GH = cell.gates * H, tokens = tape.tokens;
    const bool ragged = tape.steps && tape.sizes[tape.steps - 1] != tape.rows;
    const bool copies = ragged || tape.reset || tape.recurrent_mask;
    Buffer<T> dz(tokens * GH), dr(cell.normalized ? tokens * GH : 0), dseen(cell.normalized ? tokens * H : 0);
    Buffer<T> dout(cell.projected ? tokens * P : 0), seen(copies ? tokens * P : 0);
    Buffer<T> packed_hh(matrix_size<T>(GH, P)), packed_ih(matrix_size<T>(GH, I));
    Buffer<T> packed_hr(cell.projected ? matrix_size<T>(P, H) : 0);
    Buffer<T> m(cell.projected ? tokens * H : 0);
    Size resets = 0;
    Buffer<Size> reset_index(tape.reset ? tokens : 0);
    if (tape.reset)
        for (Size k = 0; k < tokens; ++k) reset_index.data()[k] = tape.reset[k] ? resets++ : -1;
    Buffer<T> reset_dh(out.h_0 ? resets * P : 0), reset_dc(out.h_0 ? resets * H : 0);
    pack_matrix(cell.weight_hh, P, Size(1), GH, P, packed_hh.data());
    pack_matrix(cell.weight_ih, I, Size(1), GH, I, packed_ih.data());
    if (cell.projected) pack_matrix(cell.weight_hr, H, Size(1), P, H, packed_hr.data());
    const Shared<T> shared{dz.data(), cell.normalized ? dr.data() : dz.data(), dseen.data(), dout.data(),
                           seen.data(), reset_dh.data(), reset_dc.data(), reset_index.data(),
                           packed_hh.data(), packed_hr.data()};
    const T* seen_h = copies ? seen.data() : tape.h;
    const int size = members(tokens * GH * (P + I) / 2);

    in_team(size, [&](Team team) {
        if (tokens) run_back(cell, tape, out, shared, share(tape.sizes[0], 1, team));
        team.barrier->wait();
        const Share units = share(H, 16, team), stacked = share(GH, GRADIENT_ROWS / 2, team), rows = share(tokens, CHUNK, team);
        if (cell.normalized) {
            // dr is the gradient of the raw product now; dz that of the normalized, gained one.
            sum_over_tokens(tokens, dz.data(), tape.hh_hat, GH, GH, out.norm_hh_gain, stacked.first, stacked.last);
            sum_over_tokens(tokens, dz.data(), tape.ih_hat, GH, GH, out.norm_ih_gain, stacked.first, stacked.last);
            sum_over_tokens(tokens, dseen.data(), tape.c_hat, H, H, out.norm_c_gain, units.first, units.last);
            sum_over_tokens<T>(tokens, dseen.data(), nullptr, H, H, out.norm_c_shift, units.first, units.last);
        }
        if (out.bias) sum_over_tokens<T>(tokens, dz.data(), nullptr, GH, GH, out.bias, stacked.first, stacked.last);
        if (out.peephole) peephole_gradient(cell, tape, dz.data(), out.peephole, units.first, units.last);
        Buffer<T> scratch(gradient_scratch<T>(std::max({I, P, H})));
        gradient_product(tokens, shared.dr, GH, seen_h, P, out.weight_hh, P, stacked.first, stacked.last, scratch.data());
        if (cell.projected) {
            for (Size t = rows.first; t < rows.last; ++t)
                for (Size k = 0; k < H; ++k)
                    m.data()[t * H + k] = tape.gates[t * GH + GH - H + k] * tape.squashed[t * H + k];
        }
        if (cell.normalized) {
            team.barrier->wait();  // all are done with dz as it was
            for (Size t = rows.first; t < rows.last; ++t)
                normalize_backward(dz.data() + t * GH, cell.norm_ih_gain, tape.ih_hat + t * GH, tape.ih_inverse[t], GH,
                                   dz.data() + t * GH);
        }
        team.barrier->wait();
        if (cell.projected) {
            const Share outputs = share(P, 1, team);
            gradient_product(tokens, dout.data(), P, m.data(), H, out.weight_hr, H, outputs.first, outputs.last, scratch.data());
        }
        gradient_product(tokens, dz.data(), GH, tape.x, I, out.weight_ih, I, stacked.first, stacked.last, scratch.data());
        for (Size t = rows.first; t < rows.last; t += CHUNK) {
            const Size n = std::min(CHUNK, rows.last - t);
            product(n, GH, dz.data() + t * GH, GH, packed_ih.data(), out.dx + t * I, I, I);
        }
    });
    if (out.h_0) {
        sum_over_tokens<T>(resets, reset_dh.data(), nullptr, P, P, out.h_0, 0, P);
        sum_over_tokens<T>(resets, reset_dc.data(), nullptr, H, H, out.c_0, 0, H);
    }
}

// A stack of cells fed one step at a time: everything it needs is allocated when it is made.
template <class T, class B> class StepperWith final : public lstmkit::Stepper<T> {
  public:
    StepperWith(const std::vector<Cell<T>>& cells, Size rows)
        : rows_(rows), cells_(cells) {
        Size widest = 0;
        for (Cell<T>& cell : cells_) {
            own(cell.bias, cell.gates * cell.hidden);
            own(cell.peephole, (cell.gates - 1) * cell.hidden);
            own(cell.norm_ih_gain, cell.gates * cell.hidden);
            own(cell.norm_hh_gain, cell.gates * cell.hidden);
            own(cell.norm_c_gain, cell.hidden);
            own(cell.norm_c_shift, cell.hidden);
            packed_.push_back(std::make_unique<Packed<T, B>>(cell));
            cell.weight_ih = cell.weight_hh = cell.weight_hr = nullptr;  // the packed ones count
            const Tape<T> none{};
            work_.push_back(std::make_unique<OwnWorkspace<T>>(cell, none, rows));
            widest = std::max({widest, cell.gates * cell.hidden, 2 * cell.output, 2 * cell.hidden});
        }
        z_ = std::make_unique<Buffer<T>>(rows * widest);
        h_ = std::make_unique<Buffer<T>>(rows * widest);
        c_ = std::make_unique<Buffer<T>>(rows * widest);
    }

    void step(const T* x, T* h, T* c) override {
        Size work = 0;
        for (const Cell<T>& cell : cells_)
            work += rows_ * cell.gates * cell.hidden * (cell.input + cell.output);
        const int size = rows_ > 1 ? members(work / 4) : 1;
        if (size == 1) {
            Barrier barrier(1);
            rows_of(x, h, c, Team{0, 1, &barrier});
        } else {
            in_team(size, [&](Team team) { rows_of(x, h, c, team); });
        }
    }

  private:
    // Rows are independent, so that a member takes its own through all layers.
    void rows_of(const T* x, T* h, T* c, Team team) {
        const Share own = share(rows_, 1, team);
        const Size n = own.last - own.first;
        if (n <= 0) return;
        const T* input = x + own.first * cells_[0].input;
        for (size_t k = 0; k < cells_.size(); ++k) {
            const Cell<T>& cell = cells_[k];
            const Size P = cell.output, H = cell.hidden;
            T* const h_k = h + (Size(k) * rows_ + own.first) * P;
            T* const c_k = c + (Size(k) * rows_ + own.first) * H;
            T* const z = z_->data() + own.first * cell.gates * H;
            T* const h_both = h_->data() + 2 * own.first * P;
            T* const c_both = c_->data() + 2 * own.first * H;
            std::copy(h_k, h_k + n * P, h_both);
            std::copy(c_k, c_k + n * H, c_both);
            Tape<T> tape{};
            tape.rows = tape.tokens = n, tape.steps = 1, tape.sizes = &n, tape.x = input;
            tape.h = h_both, tape.c = c_both;
            project(cell, packed_[k]->ih.data(), tape, Size(0), n, z, Size(0));
            run_steps(cell, packed_[k]->hh.data(), packed_[k]->hr.data(), tape, z, Size(0), Size(0), Size(1),
                      Size(0), Share{0, n}, Share{0, blocks(cell)}, nullptr,
                      work_[k]->view().from(cell, own.first));
            std::copy(h_both + n * P, h_both + 2 * n * P, h_k);
            std::copy(c_both + n * H, c_both + 2 * n * H, c_k);
            input = h_k;
        }
    }

    void own(const T*& weight, Size count) {
        if (!weight) return;
        copies_.emplace_back(weight, weight + count);
        weight = copies_.back().data();
    }

    Size rows_;
    std::vector<Cell<T>> cells_;
    std::deque<std::vector<T>> copies_;
    std::vector<std::unique_ptr<Packed<T, B>>> packed_;
    std::vector<std::unique_ptr<OwnWorkspace<T>>> work_;
    std::unique_ptr<Buffer<T>> z_, h_, c_;
};

template <class T> std::unique_ptr<lstmkit::Stepper<T>> make_stepper(const std::vector<Cell<T>>& cells, Size rows) {
    if constexpr (sizeof(T) == sizeof(float))
        if (cells[0].half_weights) return std::make_unique<StepperWith<T, BFloat>>(cells, rows);
    return std::make_unique<StepperWith<T, T>>(cells, rows);
}

template <class T> void apply(Activation kind, const T* z, T* a, Size count) {
    for (Size k = 0; k < count; k += WIDTH<T>) {
        const int lanes = int(std::min<Size>(WIDTH<T>, count - k));
        store(a + k, activate<T>(kind, load(z + k, lanes)), lanes);
    }
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels{
    LSTMKIT_VECTOR_BYTES,
    {forward<float>, backward<float>, make_stepper<float>, apply<float>},
    {forward<double>, backward<double>, make_stepper<double>, apply<double>},
};

}  // namespace LSTMKIT_NAMESPACE
}  // namespace lstmkit
