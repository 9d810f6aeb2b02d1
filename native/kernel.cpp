// The kernels: compiled once for each instruction set, see CMakeLists.txt. Contract: cell.hpp.
#include "kernel.hpp"

#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <limits>
#include <memory>
#include <vector>

#include "linear.hpp"
#include "memory.hpp"
#include "pointwise.hpp"
#include "pool.hpp"
#include "shares.hpp"

namespace lstmkit {
#ifdef LSTMKIT_DOUBLES  // where its kernels in float64 are; without it, this compilation is those
namespace LSTMKIT_DOUBLES { extern const KernelsOf<double> of_double; }
#endif
namespace LSTMKIT_NAMESPACE {

namespace {

template <class T> Size blocks(const Cell<T>& cell) { return round_up(cell.hidden, WIDTH<T>) / WIDTH<T>; }

// z (n, G·H) = x W_ihᵀ + b, normalized if the cell asks for it; the blocks [units.first, units.last)
// of hidden units. Where `hat` (n, G·H) is kept, so is `inverse` (n); `spare` (G·H) serves if not.
template <class T, class B>
void project(const Cell<T>& cell, const B* packed_ih, Size n, const T* x, T* z, Share units, T* hat, T* inverse,
             T* spare, bool back = false) {
    const Size H = cell.hidden, GH = cell.gates * H;
    gate_product(cell.gates, n, cell.input, x, cell.input, packed_ih, z, cell.normalized ? nullptr : cell.bias, H,
                 units.first, units.last, true, back);
    if (!cell.normalized) return;
    for (Size r = 0; r < n; ++r) {
        T* const row = z + r * GH;
        T* const hat_r = hat ? hat + r * GH : spare;
        const T found = normalize(row, GH, hat_r);
        if (inverse) inverse[r] = found;
        for (Size k = 0; k < GH; ++k) row[k] = hat_r[k] * cell.norm_ih_gain[k] + (cell.bias ? cell.bias[k] : T(0));
    }
}

// What a time loop needs beside its arguments, so many numbers a row; null where the cell does not.
template <class T> struct Workspace {
    T *spare_h, *spare_mask, *spare_c, *raw, *hat, *m;
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

// Old states of rows as the step sees them: after a reset, and h after its mask.
template <class T> struct Seen {
    const T* h;  // what W_hh multiplies
    const T* h_old;
    const T* c_old;
};
template <class T>
Seen<T> see(const Cell<T>& cell, const Tape<T>& tape, const T* h, const T* c, Size start, Size first_row, Size n,
            Share units, const Workspace<T>& work) {
    const Size P = cell.output, H = cell.hidden;
    const Size from = units.first * WIDTH<T>, to = std::min(H, units.last * WIDTH<T>);
    T *const spare_h = work.spare_h, *const spare_mask = work.spare_mask, *const spare_c = work.spare_c;
    Seen<T> seen{h, h, c};
    if (tape.reset && std::any_of(tape.reset + start, tape.reset + start + n, [](auto b) { return b; })) {
        for (Size r = 0; r < n; ++r) {
            const bool fresh = tape.reset[start + r];
            for (Size k = 0; k < P; ++k)
                spare_h[r * P + k] = !fresh ? h[r * P + k] : cell.h_0 ? cell.h_0[k] : T(0);
            for (Size k = from; k < to; ++k)  // the others' units of c may be in work
                spare_c[r * H + k] = !fresh ? c[r * H + k] : cell.c_0 ? cell.c_0[k] : T(0);
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

// One time step of n rows; every pointer is at the first of them, and null where there is nothing.
template <class T> struct Step {
    Size n;
    T* z;                // (n, G·H) in: what x and the bias give; out: the gates
    const T* h_seen;     // (n, P) what W_hh multiplies
    const T* h_old;      // (n, P)
    const T* c_old;      // (n, H)
    T* h;                // (n, P) out; not h_seen
    T* c;                // (n, H) out; may be c_old
    T* squashed;
    const T *zoneout_c, *zoneout_h;
    std::uint8_t *gates_inside, *c_inside;
    T *hh_hat, *hh_inverse, *c_hat, *c_inverse;
};

// The blocks [units.first, units.last) of hidden units. `back`: see gate_product.
template <class T, class B>
void run_step(const Cell<T>& cell, const B* packed_hh, const B* packed_hr, const Step<T>& step, Share units,
              const Workspace<T>& work, bool back) {
    const Size H = cell.hidden, P = cell.output, GH = cell.gates * H, n = step.n;
    const bool plain = cell.plain();
    const auto at = [](auto* p, Size offset) { return p ? p + offset : nullptr; };
    const auto row_of = [&](Size r) {
        return Row<T>{step.z + r * GH, step.c_old + r * H, cell.projected ? work.m + r * H : step.h + r * P,
                      step.c + r * H, at(step.squashed, r * H), at(step.zoneout_c, r * H),
                      at(step.gates_inside, r * GH), at(step.c_inside, r * H)};
    };
    const auto each_block = [&](const auto& work_on) {
        each_register<T>(units.first * WIDTH<T>, std::min(H, units.last * WIDTH<T>), work_on);
    };
    T* const raw = cell.normalized ? work.raw : step.z;
    gate_product(cell.gates, n, P, step.h_seen, P, packed_hh, raw, static_cast<const T*>(nullptr), H,
                 units.first, units.last, cell.normalized, back);
    for (Size r = 0; r < n; ++r) {
        const Row<T> row = row_of(r);
        if (plain) {
            each_block([&](Size unit, int lanes) { plain_forward(H, row, unit, lanes); });
            continue;
        }
        if (cell.normalized) {
            T* hat = step.hh_hat ? step.hh_hat + r * GH : work.hat;
            const T inverse = normalize(work.raw + r * GH, GH, hat);
            if (step.hh_inverse) step.hh_inverse[r] = inverse;
            for (Size k = 0; k < GH; ++k) row.z[k] += hat[k] * cell.norm_hh_gain[k];
        }
        each_block([&](Size unit, int lanes) { forward_to_c(cell, row, unit, lanes); });
        T* hat = nullptr;
        if (cell.normalized) {
            hat = step.c_hat ? step.c_hat + r * H : work.hat;
            const T inverse = normalize(row.c, H, hat);
            if (step.c_inverse) step.c_inverse[r] = inverse;
        }
        each_block([&](Size unit, int lanes) {
            Vec<T> c = load((hat ? hat : row.c) + unit, lanes);
            if (hat) c = c * load(cell.norm_c_gain + unit, lanes) + load(cell.norm_c_shift + unit, lanes);
            forward_from_c(cell, row, c, unit, lanes);
        });
    }
    if (cell.projected) product(n, H, work.m, H, packed_hr, step.h, P, P);
    if (cell.zoneout_h == 0) return;
    const Size from = cell.projected ? 0 : units.first * WIDTH<T>;
    const Size to = cell.projected ? P : std::min(H, units.last * WIDTH<T>);
    for (Size r = 0; r < n; ++r)
        for (Size k = from; k < to; ++k) {
            const T kept = step.zoneout_h ? step.zoneout_h[r * P + k] : cell.zoneout_h;
            T& h = step.h[r * P + k];
            h = kept * step.h_old[r * P + k] + (T(1) - kept) * h;
        }
}

// The time loop over steps [first_step, last_step) for rows [rows.first, rows.last) and the blocks
// of hidden units [units.first, units.last). If the units are divided, members of `meeting` meet at
// each step. `packed_ih` is null where z has been projected already.
template <class T, class B>
void run_steps(const Cell<T>& cell, const B* packed_ih, const B* packed_hh, const B* packed_hr, const Tape<T>& tape,
               T* z, Size z_first, Size first_step, Size last_step, Size first_token, Share rows, Share units,
               const Team* meeting, const Workspace<T>& work) {
    const Size H = cell.hidden, P = cell.output, GH = cell.gates * H, I = cell.input;
    Size start = first_token;
    Size before = first_step ? tape.rows + first_token - tape.sizes[first_step - 1] : 0;
    for (Size t = first_step; t < last_step; ++t) {
        const Size n = std::min(tape.sizes[t], rows.last) - rows.first;
        if (n > 0) {
            const Size at = start + rows.first;
            const auto taped = [&](auto* p, Size width) { return p ? p + at * width : nullptr; };
            T* const c_old = tape.c + (tape.taped ? before + rows.first : rows.first) * H;
            const Seen<T> seen = see(cell, tape, tape.h + (before + rows.first) * P, c_old, at, rows.first, n,
                                     units, work);
            const Step<T> step{n, z + (at - z_first) * GH, seen.h, seen.h_old, seen.c_old,
                               tape.h + (tape.rows + at) * P, tape.taped ? tape.c + (tape.rows + at) * H : c_old,
                               taped(tape.squashed, H), taped(tape.zoneout_c, H), taped(tape.zoneout_h, P),
                               taped(tape.gates_inside, GH), taped(tape.c_inside, H),
                               taped(tape.hh_hat, GH), taped(tape.hh_inverse, 1), taped(tape.c_hat, H),
                               taped(tape.c_inverse, 1)};
            if (packed_ih)
                project(cell, packed_ih, n, tape.x + at * I, step.z, units, taped(tape.ih_hat, GH),
                        taped(tape.ih_inverse, 1), work.hat);
            run_step(cell, packed_hh, packed_hr, step, units, work, t % 2 == 1);
        }
        before = tape.rows + start;
        start += tape.sizes[t];
        if (meeting) meeting->wait();
    }
}

// Hidden units are divided where there are too few rows, or where the recurrent weights are larger
// than a processor's own cache; else rows, whose members need not meet at each step.
constexpr Size LARGE = 256 * 1024;
template <class T> bool units_divide(const Cell<T>& cell, Size rows, Size weight_bytes) {
    if (cell.normalized || cell.projected) return false;  // each needs whole rows
    return rows < 2 * TILE_ROWS || weight_bytes > LARGE;
}

constexpr Size BLOCK_BYTES = 512 * 1024, BLOCK_TOKENS = 192;  // of gates at a time when nothing is kept

// The weights in the order in which the forward kernels read them, as B: T, or BFloat.
template <class T, class B> struct Packed {
    explicit Packed(const Cell<T>& cell)
        : ih(packed_gates_size<T>(cell.gates, cell.hidden, cell.input)),
          hh(packed_gates_size<T>(cell.gates, cell.hidden, cell.output)),
          hr(cell.projected ? packed_matrix_size<T>(cell.hidden, cell.output) : 0) {
        if (!cell.weight_ih) return;  // they come piece by piece
        pack_gates(cell.weight_ih, cell.gates, cell.hidden, cell.input, ih.data());
        pack_gates(cell.weight_hh, cell.gates, cell.hidden, cell.output, hh.data());
        if (cell.projected)
            pack_matrix(cell.weight_hr, Size(1), cell.hidden, cell.hidden, cell.output, hr.data());
    }
    Buffer<B> ih, hh, hr;
};

template <class T, class B> void forward_with(const Cell<T>& cell, const Tape<T>& tape, const Packed<T, B>& packed) {
    const Size H = cell.hidden, P = cell.output, GH = cell.gates * H;
    if (tape.tokens == 0) return;
    const Size block = tape.taped ? tape.tokens : std::max({tape.sizes[0], BLOCK_TOKENS, BLOCK_BYTES / (GH * Size(sizeof(T)))});
    Buffer<T> spare(tape.taped ? 0 : std::min(block, tape.tokens) * GH);
    T* const z = tape.taped ? tape.gates : spare.data();

    Size step = 0, token = 0;
    while (step < tape.steps) {
        Size last_step = step, last_token = token;
        while (last_step < tape.steps && last_token + tape.sizes[last_step] - token <= block)
            last_token += tape.sizes[last_step++];
        const Size n = last_token - token, rows = tape.sizes[step], row_work = P * GH;
        int size = 1;
        bool by_units = units_divide(cell, rows, GH * P * Size(sizeof(B)));
        if (by_units) size = std::min<int>(members(rows * row_work, MEETING), std::max<int>(1, int(blocks(cell) / 2)));
        if (size == 1) by_units = false;
        if (!by_units && rows > 1) size = std::min<int>(members(n * row_work), int(rows));
        // Who works on a part of z also makes it. Projected at each step are a few rows, if W_ih stays
        // in the cache for the next step; else as many tokens at a time as the gates of a block.
        const bool at_each_step = rows >= 2 * TILE_ROWS * size && GH * cell.input * Size(sizeof(B)) <= LARGE;
        const auto project_block = [&](Share tokens, Share units) {
            Buffer<T> spare(cell.normalized && !tape.taped ? GH : 0);
            for (Size k = tokens.first; k < tokens.last; k += CHUNK) {
                const Size at = token + k;
                project(cell, packed.ih.data(), std::min(CHUNK, tokens.last - k), tape.x + at * cell.input, z + k * GH,
                        units, tape.ih_hat ? tape.ih_hat + at * GH : nullptr,
                        tape.ih_hat ? tape.ih_inverse + at : nullptr, spare.data());
            }
        };
        const Share all_units{0, blocks(cell)};
        if (!by_units && !at_each_step)
            in_pieces(members(n * GH * cell.input), [&](Team team) { project_block(share(n, TILE_ROWS * 8, team), all_units); });
        const auto run = [&](Team team) {
            const Share own_rows = by_units ? Share{0, rows} : share(rows, 1, team);
            const Share own_units = by_units ? share(blocks(cell), 2, team) : all_units;
            if (by_units && !at_each_step) project_block(Share{0, n}, own_units);
            const OwnWorkspace<T> work(cell, tape, own_rows.last - own_rows.first);
            run_steps(cell, at_each_step ? packed.ih.data() : nullptr, packed.hh.data(), packed.hr.data(), tape, z, token,
                      step, last_step, token, own_rows, own_units, by_units ? &team : nullptr, work.view());
        };
        in_team(size, run, !by_units);
        step = last_step, token = last_token;
    }
}

// The weights of one cell, packed and, to see whether they have changed, as they were.
template <class T, class B> class PreparedWith final : public lstmkit::Prepared<T> {
  public:
    explicit PreparedWith(const Cell<T>& cell)
        : packed_(cell), whole_(cell.weight_ih), ih_(whole_ ? ih(cell) : 0), hh_(whole_ ? hh(cell) : 0),
          hr_(whole_ && cell.projected ? hr(cell) : 0), cell_(cell) {
        if (!whole_) return;
        std::copy_n(cell.weight_ih, ih(cell), ih_.data());
        std::copy_n(cell.weight_hh, hh(cell), hh_.data());
        if (cell.projected) std::copy_n(cell.weight_hr, hr(cell), hr_.data());
    }
    void fill(Matrix which, Size first, Size units, const T* rows) override {
        const Cell<T>& c = cell_;
        if (which == Matrix::ih) pack_gates(rows, c.gates, units, c.input, packed_.ih.data() + first * c.gates * c.input);
        if (which == Matrix::hh) pack_gates(rows, c.gates, units, c.output, packed_.hh.data() + first * c.gates * c.output);
        if (which == Matrix::hr) pack_matrix(rows, Size(1), c.hidden, c.hidden, c.output, packed_.hr.data());
    }
    bool of(const Cell<T>& cell) const override {
        if (!whole_) return false;
        std::atomic<bool> same{true};
        in_pieces(members(ih(cell) + hh(cell)), [&](Team team) {
            const auto equal = [&](const T* a, const T* b, Size count) {
                const Share part = share(count, 1024, team);
                if (std::memcmp(a + part.first, b + part.first, size_t(part.last - part.first) * sizeof(T))) same = false;
            };
            equal(cell.weight_ih, ih_.data(), ih(cell));
            equal(cell.weight_hh, hh_.data(), hh(cell));
            if (cell.projected) equal(cell.weight_hr, hr_.data(), hr(cell));
        });
        return same;
    }
    void forward(const Cell<T>& cell, const Tape<T>& tape) const override { forward_with(cell, tape, packed_); }

  private:
    static Size ih(const Cell<T>& cell) { return cell.gates * cell.hidden * cell.input; }
    static Size hh(const Cell<T>& cell) { return cell.gates * cell.hidden * cell.output; }
    static Size hr(const Cell<T>& cell) { return cell.output * cell.hidden; }

    Packed<T, B> packed_;
    bool whole_;  // the matrices were there; else they came piece by piece and are not compared
    Buffer<T> ih_, hh_, hr_;
    Cell<T> cell_;  // for its sizes alone
};

template <class T> std::unique_ptr<lstmkit::Prepared<T>> prepare(const Cell<T>& cell) {
    if constexpr (sizeof(T) == sizeof(float))
        if (cell.half_weights) return std::make_unique<PreparedWith<T, BFloat>>(cell);
    return std::make_unique<PreparedWith<T, T>>(cell);
}

// Weights in training change with every call, so that they are packed with every call.
template <class T> void forward(const Cell<T>& cell, const Tape<T>& tape) {
    if constexpr (sizeof(T) == sizeof(float))
        if (cell.half_weights) return forward_with(cell, tape, Packed<T, BFloat>(cell));
    forward_with(cell, tape, Packed<T, T>(cell));
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
              Share rows, Share panels_, const Team* meeting) {
    const Size H = cell.hidden, P = cell.output, GH = cell.gates * H, W = WIDTH<T>;
    // Units [from, to) of c and, if there is no projection, of h; with one the units are not divided.
    const Size from = std::min(H, panels_.first * PANEL * W), to = std::min(H, panels_.last * PANEL * W);
    const Size from_h = cell.projected ? 0 : from, to_h = cell.projected ? P : to;
    const Share units{from / W, round_up(to, W) / W};
    const Size most = rows.last - rows.first;
    if (most <= 0) return;
    const bool spare = tape.reset || tape.recurrent_mask;
    Buffer<T> spare_h(spare ? most * P : 0), spare_mask(spare ? most * P : 0), spare_c(spare ? most * H : 0);
    const Workspace<T> work{spare_h.data(), spare_mask.data(), spare_c.data(), nullptr, nullptr, nullptr};
    Buffer<T> dm(cell.projected ? most * H : 0), dh_new(most * P), dseen_row(H);
    Buffer<T> dh_in(cell.zoneout_h != 0 ? most * P : 0);
    Size start = tape.tokens;
    for (Size t = tape.steps; t-- > 0;) {
        start -= tape.sizes[t];
        const Size n = std::min(tape.sizes[t], rows.last) - rows.first;
        const Size at = start + rows.first;
        T* const dh = out.dh + rows.first * P;
        T* const dc = out.dc + rows.first * H;
        if (n > 0) {
            const Size before = (t ? tape.rows + start - tape.sizes[t - 1] : 0) + rows.first;
            const Seen<T> seen = see(cell, tape, tape.h + before * P, tape.c + before * H, at, rows.first, n, units, work);
            for (Size r = 0; r < n; ++r) {
                if (shared.seen) std::copy(seen.h + r * P + from_h, seen.h + r * P + to_h, shared.seen + (at + r) * P + from_h);
                for (Size k = from_h; k < to_h; ++k) dh[r * P + k] += out.dy[(at + r) * P + k];
                if (cell.zoneout_h == 0) continue;
                for (Size k = from_h; k < to_h; ++k) {
                    const T kept = tape.zoneout_h ? tape.zoneout_h[(at + r) * P + k] : cell.zoneout_h;
                    dh_in.data()[r * P + k] = (T(1) - kept) * dh[r * P + k];
                    dh[r * P + k] *= kept;
                }
            }
            const T* dm_ = cell.zoneout_h != 0 ? dh_in.data() : dh;
            if (cell.projected) {
                std::copy(dm_, dm_ + n * P, shared.dout + at * P);
                product(n, P, dm_, P, shared.packed_hr, dm.data(), H, H);
                dm_ = dm.data();
            }
            for (Size r = 0; r < n; ++r) {
                const Size token = at + r;
                const T* gates = tape.gates + token * GH;
                T* dz = shared.dz + token * GH;
                T* dseen = cell.normalized ? shared.dseen + token * H : dseen_row.data();
                each_register<T>(from, to, [&](Size unit, int lanes) {
                    backward_from_m(cell, gates, tape.squashed + token * H, dm_ + r * H, dz, dseen, unit, lanes);
                });
                if (cell.normalized) {
                    normalize_backward(dseen, cell.norm_c_gain, tape.c_hat + token * H, tape.c_inverse[token], H,
                                       dseen_row.data());
                    dseen = dseen_row.data();
                }
                each_register<T>(from, to, [&](Size unit, int lanes) {
                    backward_to_z(cell, gates, seen.c_old + r * H,
                                  tape.zoneout_c ? tape.zoneout_c + token * H : nullptr,
                                  tape.gates_inside ? tape.gates_inside + token * GH : nullptr,
                                  tape.c_inside ? tape.c_inside + token * H : nullptr, dseen, dc + r * H, dz, unit,
                                  lanes);
                });
                if (cell.normalized)
                    normalize_backward(dz, cell.norm_hh_gain, tape.hh_hat + token * GH, tape.hh_inverse[token], GH,
                                       shared.dr + token * GH);
            }
        }
        if (meeting) meeting->wait();  // until all units of dz are there
        if (n <= 0) continue;
        product(n, GH, shared.dr + at * GH, GH, shared.packed_hh, dh_new.data(), P, P, panels_.first,
                cell.projected ? panels<T>(P) : panels_.last, t % 2 == 1);
        for (Size r = 0; r < n; ++r) {
            T* const dh_r = dh + r * P;
            const T* const new_r = dh_new.data() + r * P;
            const T* const mask = tape.recurrent_mask ? tape.recurrent_mask + (rows.first + r) * P : nullptr;
            for (Size k = from_h; k < to_h; ++k)
                dh_r[k] = (cell.zoneout_h != 0 ? dh_r[k] : T(0)) + (mask ? new_r[k] * mask[k] : new_r[k]);
            if (!tape.reset || !tape.reset[at + r]) continue;
            T* const dc_r = dc + r * H;
            if (shared.reset_dh) {
                const Size k = shared.reset_index[at + r];
                std::copy(dh_r + from_h, dh_r + to_h, shared.reset_dh + k * P + from_h);
                std::copy(dc_r + from, dc_r + to, shared.reset_dc + k * H + from);
            }
            std::fill(dh_r + from_h, dh_r + to_h, T(0));
            std::fill(dc_r + from, dc_r + to, T(0));
        }
    }
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
    Buffer<T> packed_hh(packed_matrix_size<T>(GH, P)), packed_ih(packed_matrix_size<T>(GH, I));
    Buffer<T> packed_hr(cell.projected ? packed_matrix_size<T>(P, H) : 0);
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
    const Size rows_ = tokens ? tape.sizes[0] : 0, row_work = GH * P;
    int size = members(tokens * GH * (P + I));
    // Panels of the product are what units are divided by; where they do not come out even, rows are.
    bool by_units = units_divide(cell, rows_, row_work * Size(sizeof(T))) &&
                    (rows_ < 2 * TILE_ROWS || panels<T>(P) % size == 0 || panels<T>(P) >= 8 * size);
    if (by_units && members(rows_ * row_work, MEETING) < size) by_units = false;

    in_team(size, [&](Team team) {
        const Share every{0, panels<T>(H)};
        if (by_units)
            run_back(cell, tape, out, shared, Share{0, rows_}, share(every.last, 1, team), &team);
        else if (tokens)
            run_back(cell, tape, out, shared, share(rows_, 1, team), every, nullptr);
        team.wait();
        const Share units = share(H, 16, team), stacked = share(GH, GRADIENT_GROUP, team), rows = share(tokens, CHUNK, team);
        if (cell.normalized) {
            // dr is the gradient of the raw product now; dz that of the normalized, gained one.
            sum_of_products(tokens, dz.data(), tape.hh_hat, GH, out.norm_hh_gain, stacked.first, stacked.last);
            sum_of_products(tokens, dz.data(), tape.ih_hat, GH, out.norm_ih_gain, stacked.first, stacked.last);
            sum_of_products(tokens, dseen.data(), tape.c_hat, H, out.norm_c_gain, units.first, units.last);
            sum_rows(tokens, dseen.data(), H, out.norm_c_shift, units.first, units.last);
        }
        if (out.bias) sum_rows(tokens, dz.data(), GH, out.bias, stacked.first, stacked.last);
        if (out.peephole) peephole_gradient(cell, tape, dz.data(), out.peephole, units.first, units.last);
        Buffer<T> scratch(gradient_scratch<T>(std::max({I, P, H})));
        gradient_product(tokens, shared.dr, GH, seen_h, P, out.weight_hh, P, stacked.first, stacked.last, scratch.data());
        if (cell.projected) {
            for (Size t = rows.first; t < rows.last; ++t)
                for (Size k = 0; k < H; ++k)
                    m.data()[t * H + k] = tape.gates[t * GH + GH - H + k] * tape.squashed[t * H + k];
        }
        if (cell.normalized) {
            team.wait();  // all are done with dz as it was
            for (Size t = rows.first; t < rows.last; ++t)
                normalize_backward(dz.data() + t * GH, cell.norm_ih_gain, tape.ih_hat + t * GH, tape.ih_inverse[t], GH,
                                   dz.data() + t * GH);
        }
        team.wait();
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
        sum_rows(resets, reset_dh.data(), P, out.h_0, 0, P);
        sum_rows(resets, reset_dc.data(), H, out.c_0, 0, H);
    }
}

// A stack of cells fed one step at a time: everything it needs is allocated when it is made.
template <class T, class B> class StepperWith final : public lstmkit::Stepper<T> {
  public:
    StepperWith(const std::vector<Cell<T>>& cells, Size rows) : rows_(rows), cells_(cells) {
        Size narrowest = std::numeric_limits<Size>::max(), bytes = 0;
        bool divisible = true;
        for (Cell<T>& cell : cells_) {
            own(cell.bias, cell.gates * cell.hidden);
            own(cell.peephole, (cell.gates - 1) * cell.hidden);
            own(cell.norm_ih_gain, cell.gates * cell.hidden);
            own(cell.norm_hh_gain, cell.gates * cell.hidden);
            own(cell.norm_c_gain, cell.hidden);
            own(cell.norm_c_shift, cell.hidden);
            packed_.push_back(std::make_unique<Packed<T, B>>(cell));
            cell.weight_ih = cell.weight_hh = cell.weight_hr = nullptr;  // the packed ones count
            const Size weights = cell.gates * cell.hidden * (cell.input + cell.output);
            widest_ = std::max({widest_, cell.gates * cell.hidden, cell.output});
            narrowest = std::min(narrowest, weights);
            bytes += weights * Size(sizeof(B));
            work_ += weights;
            divisible = divisible && units_divide(cell, rows, bytes);
        }
        by_units_ = divisible && rows < 2 * TILE_ROWS && rows * narrowest >= 2 * MEETING;
        chunk_ = by_units_ ? rows : std::min(rows, CHUNK);
        most_ = by_units_ ? members(rows * narrowest, MEETING) : int(std::min<Size>(members(rows * work_), rows));
        const Size regions = by_units_ ? 1 : most_;
        const Tape<T> none{};
        for (const Cell<T>& cell : cells_)
            for (int k = 0; k < most_; ++k) spare_.push_back(std::make_unique<OwnWorkspace<T>>(cell, none, chunk_));
        z_ = std::make_unique<Buffer<T>>(regions * chunk_ * widest_);
        h_ = std::make_unique<Buffer<T>>(2 * regions * chunk_ * widest_);
    }

    void step(const T* x, T* h, T* c, T* y) override {
        // A team that sleeps is not worth waking for one step: only for steps that follow each other.
        const auto now = std::chrono::steady_clock::now();
        const bool follows = now - last_ < std::chrono::microseconds(200);
        last_ = now;
        const int size = follows || !by_units_ ? std::min(most_, get_threads()) : 1;
        if (by_units_) {
            for (size_t k = 0; k < cells_.size(); ++k) {
                in_pieces(size, [&](Team team) { cell_step(k, x, h, c, 0, rows_, team.index, share(blocks(cells_[k]), 2, team)); });
                keep(k, h, y, 0, rows_, 0);
            }
        } else {
            in_pieces(size, [&](Team team) {
                const Share own = share(rows_, 1, team);
                for (Size row = own.first; row < own.last; row += chunk_)
                    for (size_t k = 0; k < cells_.size(); ++k) {
                        const Size n = std::min(chunk_, own.last - row);
                        cell_step(k, x, h, c, row, n, team.index, Share{0, blocks(cells_[k])});
                        keep(k, h, y, row, n, team.index);
                    }
            });
        }
        back_ = !back_;
    }

  private:
    // The new h of layer k, for the rows that a member works on, or that all work on.
    T* new_h(size_t k, int member) const {
        return h_->data() + (2 * (by_units_ ? 0 : member) + Size(k % 2)) * chunk_ * widest_;
    }
    // Layer k for `n` rows from `row` on and the blocks of `units`; h is not changed yet.
    void cell_step(size_t k, const T* x, const T* h, T* c, Size row, Size n, int member, Share units) {
        const Cell<T>& cell = cells_[k];
        const Workspace<T> work = spare_[k * size_t(most_) + size_t(member)]->view();
        const T* const input = k ? new_h(k - 1, member) : x + row * cell.input;
        T* const z = z_->data() + (by_units_ ? 0 : member) * chunk_ * widest_;
        project<T>(cell, packed_[k]->ih.data(), n, input, z, units, nullptr, nullptr, work.hat, back_);
        Step<T> step{};
        step.n = n, step.z = z, step.h = new_h(k, member);
        step.h_seen = step.h_old = h + (Size(k) * rows_ + row) * cell.output;
        step.c = c + (Size(k) * rows_ + row) * cell.hidden, step.c_old = step.c;
        run_step(cell, packed_[k]->hh.data(), packed_[k]->hr.data(), step, units, work, !back_);
    }
    void keep(size_t k, T* h, T* y, Size row, Size n, int member) {
        const Size P = cells_[k].output;
        const T* const from = new_h(k, member);
        std::copy(from, from + n * P, h + (Size(k) * rows_ + row) * P);
        if (k + 1 == cells_.size()) std::copy(from, from + n * P, y + row * P);
    }

    void own(const T*& weight, Size count) {
        if (!weight) return;
        copies_.emplace_back(weight, weight + count);
        weight = copies_.back().data();
    }

    Size rows_, work_ = 0, chunk_ = 0, widest_ = 0;
    int most_ = 1;           // members
    bool by_units_ = false;  // or by rows
    std::chrono::steady_clock::time_point last_{};
    bool back_ = false;      // every other step goes through the weights from their end
    std::vector<Cell<T>> cells_;
    std::deque<std::vector<T>> copies_;
    std::vector<std::unique_ptr<Packed<T, B>>> packed_;
    std::vector<std::unique_ptr<OwnWorkspace<T>>> spare_;  // [layer][member]
    std::unique_ptr<Buffer<T>> z_, h_;
};

template <class T> std::unique_ptr<lstmkit::Stepper<T>> make_stepper(const std::vector<Cell<T>>& cells, Size rows) {
    if constexpr (sizeof(T) == sizeof(float))
        if (cells[0].half_weights) return std::make_unique<StepperWith<T, BFloat>>(cells, rows);
    return std::make_unique<StepperWith<T, T>>(cells, rows);
}

template <class T> void apply(const Function<T>& function, const T* z, T* a, Size count) {
    for (Size k = 0; k < count; k += WIDTH<T>) {
        const int lanes = int(std::min<Size>(WIDTH<T>, count - k));
        store(a + k, activate<T>(function, load(z + k, lanes)), lanes);
    }
}

}  // namespace

#ifdef LSTMKIT_DOUBLES
extern const Kernels kernels;
const Kernels kernels{
    LSTMKIT_VECTOR_BYTES,
    {forward<float>, prepare<float>, backward<float>, make_stepper<float>, linear<float>, linear_backward<float>,
     apply<float>},
    LSTMKIT_DOUBLES::of_double,
};
#else
extern const KernelsOf<double> of_double;
const KernelsOf<double> of_double{
    forward<double>, prepare<double>, backward<double>, make_stepper<double>, linear<double>, linear_backward<double>,
    apply<double>,
};
#endif

}  // namespace LSTMKIT_NAMESPACE
}  // namespace lstmkit
