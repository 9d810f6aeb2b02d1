// The binding: NumPy arrays in, kernels out. What the arrays must look like is in cell.hpp; Python
// checks shapes once, at the public border, and this file checks sizes, so that no mistake above it
// can make a kernel read or write where it must not.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "dispatch.hpp"
#include "memory.hpp"
#include "pool.hpp"

namespace nb = nanobind;
using namespace lstmkit;
using namespace nb::literals;

namespace {

const Isa& isa() {
    static const Isa& chosen = choose_isa();
    return chosen;
}
template <class T> const KernelsOf<T>& kernels();
template <> const KernelsOf<float>& kernels<float>() { return isa().kernels->of_float; }
template <> const KernelsOf<double>& kernels<double>() { return isa().kernels->of_double; }

// A C-contiguous buffer of exactly so many T, for as long as the object lives.
class View {
  public:
    View() = default;
    View(PyObject* object, Size bytes, bool writable, const char* name) {
        if (PyObject_GetBuffer(object, &buffer_, writable ? PyBUF_CONTIG : PyBUF_CONTIG_RO) != 0) throw nb::python_error();
        held_ = true;
        if (buffer_.len != bytes) {
            const std::string message = std::string(name) + " has " + std::to_string(buffer_.len) + " bytes; expected " + std::to_string(bytes);
            PyBuffer_Release(&buffer_);
            throw std::invalid_argument(message);
        }
    }
    View(View&& other) noexcept : buffer_(other.buffer_), held_(other.held_) { other.held_ = false; }
    View& operator=(View&& other) noexcept {
        std::swap(buffer_, other.buffer_), std::swap(held_, other.held_);
        return *this;
    }
    ~View() {
        if (held_) PyBuffer_Release(&buffer_);
    }
    void* data() const { return held_ ? buffer_.buf : nullptr; }

  private:
    Py_buffer buffer_{};
    bool held_ = false;
};

// The arrays of one call by name; each is held until the call ends.
class Arrays {
  public:
    explicit Arrays(nb::dict arrays) : arrays_(std::move(arrays)) {}
    template <class U> U* get(const char* name, Size count, bool writable = false) {
        nb::object value = arrays_.attr("get")(name);
        if (value.is_none()) return nullptr;
        views_.emplace_back(value.ptr(), count * Size(sizeof(U)), writable, name);
        return static_cast<U*>(views_.back().data());
    }

  private:
    nb::dict arrays_;
    std::vector<View> views_;
};

// An activation as `lstmkit.engine.native_twin.describe_function` writes it.
template <class T> Function<T> make_function(const double* o) {
    if (!(o[0] >= 0 && o[0] < ACTIVATIONS)) throw std::invalid_argument("there is no such activation");
    return {Activation(int(o[0])), T(o[1]), T(o[2])};
}

// A cell as Python hands it over: its options in the order of `lstmkit.engine.native_twin.describe`.
// `matrices`: whether the matrices must be there. Where they are packed already they need not be.
template <class T> Cell<T> make_cell(const std::vector<double>& o, Arrays& weights, bool matrices = true) {
    if (o.size() != 21) throw std::invalid_argument("a cell has 21 options");
    Cell<T> cell{};
    cell.input = Size(o[0]), cell.hidden = Size(o[1]), cell.output = Size(o[2]), cell.gates = Size(o[3]);
    cell.projected = o[4] != 0, cell.normalized = o[5] != 0, cell.coupled = cell.gates == 3;
    cell.cell_clip = T(o[6]), cell.gate_clip = T(o[7]), cell.zoneout_c = T(o[8]), cell.zoneout_h = T(o[9]);
    cell.gate = make_function<T>(&o[10]), cell.candidate = make_function<T>(&o[13]), cell.squash = make_function<T>(&o[16]);
    const bool has_start = o[19] != 0;
    cell.half_weights = o[20] != 0;
    const Size I = cell.input, H = cell.hidden, P = cell.output, GH = cell.gates * H;
    cell.weight_ih = weights.get<T>("weight_ih", GH * I);
    cell.weight_hh = weights.get<T>("weight_hh", GH * P);
    cell.bias = weights.get<T>("bias", GH);
    cell.peephole = weights.get<T>("peephole", (cell.gates - 1) * H);
    if (cell.projected) cell.weight_hr = weights.get<T>("weight_hr", P * H);
    if (cell.normalized) {
        cell.norm_ih_gain = weights.get<T>("norm_ih_gain", GH);
        cell.norm_hh_gain = weights.get<T>("norm_hh_gain", GH);
        cell.norm_c_gain = weights.get<T>("norm_c_gain", H);
        cell.norm_c_shift = weights.get<T>("norm_c_shift", H);
    }
    if (has_start) cell.h_0 = weights.get<T>("h_0", P), cell.c_0 = weights.get<T>("c_0", H);
    if ((matrices && (!cell.weight_ih || !cell.weight_hh || (cell.projected && !cell.weight_hr))) ||
        (cell.normalized && !(cell.norm_ih_gain && cell.norm_hh_gain && cell.norm_c_gain && cell.norm_c_shift)))
        throw std::invalid_argument("a cell lacks a weight");
    return cell;
}

template <class T> Tape<T> make_tape(const Cell<T>& cell, Arrays& a, const std::vector<Size>& sizes, Size rows, bool taped) {
    Size tokens = 0, last = rows;
    for (Size n : sizes) {
        if (n < 1 || n > last) throw std::invalid_argument("sizes must fall, from at most the number of rows");
        tokens += last = n;
    }
    const Size H = cell.hidden, P = cell.output, GH = cell.gates * H;
    Tape<T> t{};
    t.rows = rows, t.tokens = tokens, t.steps = Size(sizes.size()), t.sizes = sizes.data(), t.taped = taped;
    t.x = a.get<T>("x", tokens * cell.input);
    t.reset = a.get<std::uint8_t>("reset", tokens);
    t.recurrent_mask = a.get<T>("recurrent", rows * P);
    t.zoneout_c = a.get<T>("zoneout_c", tokens * H);
    t.zoneout_h = a.get<T>("zoneout_h", tokens * P);
    t.h = a.get<T>("h", (rows + tokens) * P, true);
    t.c = a.get<T>("c", (taped ? rows + tokens : rows) * H, true);
    if (!t.x || !t.h || !t.c) throw std::invalid_argument("a tape lacks x, h or c");
    if (!taped) return t;
    t.gates = a.get<T>("gates", tokens * GH, true);
    t.squashed = a.get<T>("squashed", tokens * H, true);
    bool whole = t.gates && t.squashed;
    if (cell.normalized) {
        t.ih_hat = a.get<T>("ih_hat", tokens * GH, true), t.ih_inverse = a.get<T>("ih_inverse", tokens, true);
        t.hh_hat = a.get<T>("hh_hat", tokens * GH, true), t.hh_inverse = a.get<T>("hh_inverse", tokens, true);
        t.c_hat = a.get<T>("c_hat", tokens * H, true), t.c_inverse = a.get<T>("c_inverse", tokens, true);
        whole = whole && t.ih_hat && t.ih_inverse && t.hh_hat && t.hh_inverse && t.c_hat && t.c_inverse;
    }
    if (cell.gate_clip != 0) whole = (t.gates_inside = a.get<std::uint8_t>("gates_inside", tokens * GH, true)) && whole;
    if (cell.cell_clip != 0) whole = (t.c_inside = a.get<std::uint8_t>("c_inside", tokens * H, true)) && whole;
    if (!whole) throw std::invalid_argument("a tape lacks an array");
    return t;
}

// The packed weights of a cell, for many calls without a tape.
template <class T> class Kept {
  public:
    Kept(const std::vector<double>& options, nb::dict weights) : options_(options) {
        Arrays held(weights);
        cell_ = make_cell<T>(options, held, weights.size() != 0);
        prepared_ = kernels<T>().prepare(cell_);
        const Size H = cell_.hidden;
        if (weights.size() == 0) missing_ = {H, H, cell_.projected ? H : 0};
    }
    // Take the rows of some hidden units, in order: see Prepared::fill.
    void fill(int which, Size first, Size units, nb::handle rows) {
        if (which < 0 || which > 2 || units < 1 || units > missing_[which] || first != cell_.hidden - missing_[which] ||
            (units % UNITS != 0 && units != missing_[which]) || (which == 2 && units != cell_.hidden))
            throw std::invalid_argument("such a piece of a matrix is not missing");
        const Size inner = which == 0 ? cell_.input : cell_.output;
        const View view(rows.ptr(), (which == 2 ? 1 : cell_.gates) * units * inner * Size(sizeof(T)), false, "rows");
        prepared_->fill(Matrix(which), first, units, static_cast<const T*>(view.data()));
        missing_[which] -= units;
    }
    // Whether the weights are still what they were.
    bool of(const std::vector<double>& options, nb::dict weights) const {
        Arrays held(weights);
        const Cell<T> cell = make_cell<T>(options, held);
        if (options != options_) return false;
        nb::gil_scoped_release released;
        return prepared_->of(cell);
    }
    const Prepared<T>& prepared(const std::vector<double>& options) const {
        if (options != options_) throw std::invalid_argument("the kept weights are another cell's");
        if (missing_ != std::array<Size, 3>{}) throw std::invalid_argument("the kept weights are not complete");
        return *prepared_;
    }

  private:
    std::vector<double> options_;
    Cell<T> cell_{};  // for its sizes alone
    std::array<Size, 3> missing_{};  // hidden units whose rows have not come, of W_ih, W_hh, W_hr
    std::unique_ptr<Prepared<T>> prepared_;
};

// A pass over one cell, with all arrays that it needs, checked and held.
class Call {
  public:
    Call() = default;
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    virtual ~Call() = default;
    virtual void run() = 0;
    bool small = false;  // so few rows that a team divides two calls better than one
};
template <class T> bool is_small(const Cell<T>& cell, Size rows) {
    return rows < 16 && (get_threads() <= 2 || rows * cell.gates * cell.hidden * cell.output < 40000);
}

template <class T> class ForwardCall final : public Call {
  public:
    ForwardCall(const std::vector<double>& options, nb::dict weights, nb::dict arrays, std::vector<Size> sizes, Size rows, nb::object kept)
        : weights_(weights), arrays_(arrays), sizes_(std::move(sizes)), kept_(kept), taped_(kept.is_none()) {
        cell_ = make_cell<T>(options, weights_, taped_);
        tape_ = make_tape(cell_, arrays_, sizes_, rows, taped_);
        if (!taped_) prepared_ = &nb::cast<const Kept<T>&>(kept).prepared(options);
        small = is_small(cell_, rows);
    }
    void run() override {
        if (taped_)
            kernels<T>().forward(cell_, tape_);
        else
            prepared_->forward(cell_, tape_);
    }

  private:
    Arrays weights_, arrays_;
    std::vector<Size> sizes_;
    nb::object kept_;
    bool taped_;
    const Prepared<T>* prepared_ = nullptr;
    Cell<T> cell_{};
    Tape<T> tape_{};
};

// Memory for a NumPy array, which comes back for others when the last view of it is gone.
class Memory {
  public:
    explicit Memory(std::size_t bytes) : bytes_(bytes), data_(take_memory(bytes)) {}
    ~Memory() { give_memory(data_, bytes_); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    nb::dict array_interface() const {
        nb::dict found;
        found["shape"] = nb::make_tuple(bytes_);
        found["typestr"] = "|u1";
        found["data"] = nb::make_tuple(reinterpret_cast<std::uintptr_t>(data_), false);
        found["version"] = 3;
        return found;
    }

  private:
    std::size_t bytes_;
    void* data_;
};

template <class T> class BackwardCall final : public Call {
  public:
    BackwardCall(const std::vector<double>& options, nb::dict weights, nb::dict arrays, std::vector<Size> sizes, Size rows, nb::dict flow, nb::dict gradients)
        : weights_(weights), arrays_(arrays), flow_(flow), gradients_(gradients), sizes_(std::move(sizes)) {
        cell_ = make_cell<T>(options, weights_);
        tape_ = make_tape(cell_, arrays_, sizes_, rows, true);
        const Cell<T>& cell = cell_;
        const Size I = cell.input, H = cell.hidden, P = cell.output, GH = cell.gates * H;
        Gradients<T>& g = out_;
        g.dy = flow_.get<T>("dy", tape_.tokens * P);
        g.dh = flow_.get<T>("dh", rows * P, true), g.dc = flow_.get<T>("dc", rows * H, true);
        g.dx = flow_.get<T>("dx", tape_.tokens * I, true);
        const auto gradient = [&](const char* name, Size count, const T* weight) {
            T* found = gradients_.get<T>(name, count, true);
            if (weight && !found) throw std::invalid_argument(std::string("no room for the gradient of ") + name);
            return found;
        };
        g.weight_ih = gradient("weight_ih", GH * I, cell.weight_ih);
        g.weight_hh = gradient("weight_hh", GH * P, cell.weight_hh);
        g.bias = gradient("bias", GH, cell.bias);
        g.peephole = gradient("peephole", (cell.gates - 1) * H, cell.peephole);
        g.weight_hr = gradient("weight_hr", P * H, cell.weight_hr);
        g.norm_ih_gain = gradient("norm_ih_gain", GH, cell.norm_ih_gain);
        g.norm_hh_gain = gradient("norm_hh_gain", GH, cell.norm_hh_gain);
        g.norm_c_gain = gradient("norm_c_gain", H, cell.norm_c_gain);
        g.norm_c_shift = gradient("norm_c_shift", H, cell.norm_c_shift);
        g.h_0 = gradient("h_0", P, cell.h_0), g.c_0 = gradient("c_0", H, cell.c_0);
        if (!g.dy || !g.dh || !g.dc || !g.dx) throw std::invalid_argument("a gradient lacks dy, dh, dc or dx");
        small = is_small(cell_, rows);
    }
    void run() override { kernels<T>().backward(cell_, tape_, out_); }

  private:
    Arrays weights_, arrays_, flow_, gradients_;
    std::vector<Size> sizes_;
    Cell<T> cell_{};
    Tape<T> tape_{};
    Gradients<T> out_{};
};

// The calls of a layer's directions, which do not need each other. Small ones run side by side, each
// by one thread: who is in a team already gets no team of its own.
void run(const std::vector<Call*>& calls) {
    bool small = calls.size() > 1;
    for (const Call* call : calls) small = small && call->small;
    nb::gil_scoped_release released;
    in_pieces(small ? std::min(int(calls.size()), get_threads()) : 1, [&](Team team) {
        for (size_t k = size_t(team.index); k < calls.size(); k += size_t(team.size)) calls[k]->run();
    });
}

// The sizes of a linear layer's call, and that its arrays have them.
template <class T> class LinearCall {
  public:
    LinearCall(Size rows, Size in, Size out) : rows(rows), in(in), out(out) {
        if (rows < 0 || in < 1 || out < 1) throw std::invalid_argument("a linear layer has inputs and outputs");
    }
    const T* read(nb::handle array, Size count, const char* name) { return view(array, count, false, name); }
    T* write(nb::handle array, Size count, const char* name) { return view(array, count, true, name); }
    const Size rows, in, out;

  private:
    T* view(nb::handle array, Size count, bool writable, const char* name) {
        if (array.is_none()) return nullptr;
        views_.emplace_back(array.ptr(), count * Size(sizeof(T)), writable, name);
        return static_cast<T*>(views_.back().data());
    }
    std::vector<View> views_;
};
template <class T>
void linear(Size rows, Size in, Size out, nb::handle x_, nb::handle weight_, nb::handle bias_, nb::handle y_) {
    LinearCall<T> call(rows, in, out);
    const T* const x = call.read(x_, rows * in, "x");
    const T* const weight = call.read(weight_, out * in, "weight");
    const T* const bias = call.read(bias_, out, "bias");
    T* const y = call.write(y_, rows * out, "y");
    if (!x || !weight || !y) throw std::invalid_argument("a linear layer lacks x, weight or y");
    nb::gil_scoped_release released;
    kernels<T>().linear(rows, in, out, x, weight, bias, y);
}
template <class T>
void linear_backward(Size rows, Size in, Size out, nb::handle x_, nb::handle weight_, nb::handle dy_, nb::handle dx_,
                     nb::handle dweight_, nb::handle dbias_) {
    LinearCall<T> call(rows, in, out);
    const T* const x = call.read(x_, rows * in, "x");
    const T* const weight = call.read(weight_, out * in, "weight");
    const T* const dy = call.read(dy_, rows * out, "dy");
    T* const dx = call.write(dx_, rows * in, "dx");
    T* const dweight = call.write(dweight_, out * in, "dweight");
    T* const dbias = call.write(dbias_, out, "dbias");
    if (!x || !weight || !dy || !dx || !dweight) throw std::invalid_argument("a linear layer lacks an array");
    nb::gil_scoped_release released;
    kernels<T>().linear_backward(rows, in, out, x, weight, dy, dx, dweight, dbias);
}

template <class T> class Steps {
  public:
    Steps(const std::vector<std::vector<double>>& options, const std::vector<nb::dict>& weights, Size rows) : rows_(rows) {
        std::vector<Arrays> held;
        std::vector<Cell<T>> cells;
        held.reserve(options.size());
        if (options.size() != weights.size() || options.empty() || rows < 1) throw std::invalid_argument("a stack has cells and rows");
        for (size_t k = 0; k < options.size(); ++k) {
            held.emplace_back(weights[k]);
            cells.push_back(make_cell<T>(options[k], held.back()));
        }
        input_ = cells.front().input, output_ = cells.back().output;
        for (const auto& cell : cells) h_size_ += cell.output, c_size_ += cell.hidden;
        stepper_ = kernels<T>().make_stepper(cells, rows);
    }
    // The arrays that every step changes, until others are bound.
    void bind(nb::handle h, nb::handle c) {
        View new_h(h.ptr(), rows_ * h_size_ * Size(sizeof(T)), true, "h"), new_c(c.ptr(), rows_ * c_size_ * Size(sizeof(T)), true, "c");
        h_ = std::move(new_h), c_ = std::move(new_c);
    }
    void step(nb::handle x, nb::handle y) {
        const View x_(x.ptr(), rows_ * input_ * Size(sizeof(T)), false, "x");
        const View y_(y.ptr(), rows_ * output_ * Size(sizeof(T)), true, "y");
        if (!h_.data() || !c_.data()) throw std::invalid_argument("a step has no state; bind h and c first");
        const auto run = [&] {
            stepper_->step(static_cast<const T*>(x_.data()), static_cast<T*>(h_.data()), static_cast<T*>(c_.data()),
                           static_cast<T*>(y_.data()));
        };
        if (rows_ < 16) return run();  // shorter than letting the interpreter go and taking it back
        nb::gil_scoped_release released;
        run();
    }

  private:
    Size rows_, input_ = 0, output_ = 0, h_size_ = 0, c_size_ = 0;
    View h_, c_;
    std::unique_ptr<Stepper<T>> stepper_;
};

template <class T> void bind(nb::module_& m, const char* suffix) {
    const auto name = [suffix](const char* stem) { return std::string(stem) + suffix; };
    nb::class_<ForwardCall<T>, Call>(m, name("Forward").c_str())
        .def(nb::init<const std::vector<double>&, nb::dict, nb::dict, std::vector<Size>, Size, nb::object>(), "options"_a,
             "weights"_a, "arrays"_a, "sizes"_a, "rows"_a, "kept"_a.none());
    nb::class_<BackwardCall<T>, Call>(m, name("Backward").c_str())
        .def(nb::init<const std::vector<double>&, nb::dict, nb::dict, std::vector<Size>, Size, nb::dict, nb::dict>());
    m.def(name("linear").c_str(), &linear<T>, "rows"_a, "inputs"_a, "outputs"_a, "x"_a, "weight"_a, "bias"_a.none(), "y"_a);
    m.def(name("linear_backward").c_str(), &linear_backward<T>, "rows"_a, "inputs"_a, "outputs"_a, "x"_a, "weight"_a, "dy"_a,
          "dx"_a, "dweight"_a, "dbias"_a.none());
    m.def(name("apply").c_str(), [](const std::vector<double>& function, nb::handle z, nb::handle a, Size count) {
        if (function.size() != 3) throw std::invalid_argument("an activation is its kind, alpha and beta");
        const View in(z.ptr(), count * Size(sizeof(T)), false, "z"), out(a.ptr(), count * Size(sizeof(T)), true, "a");
        kernels<T>().apply(make_function<T>(function.data()), static_cast<const T*>(in.data()), static_cast<T*>(out.data()), count);
    });
    nb::class_<Kept<T>>(m, name("Kept").c_str())
        .def(nb::init<const std::vector<double>&, nb::dict>())
        .def("of", &Kept<T>::of)
        .def("fill", &Kept<T>::fill);
    nb::class_<Steps<T>>(m, name("Steps").c_str())
        .def(nb::init<const std::vector<std::vector<double>>&, const std::vector<nb::dict>&, Size>())
        .def("bind", &Steps<T>::bind)
        .def("step", &Steps<T>::step);
}

}  // namespace

NB_MODULE(_native, m) {
    try {
        isa();
    } catch (const std::invalid_argument& error) {
        throw nb::import_error(error.what());
    }
    nb::class_<Call>(m, "Call");
    m.def("run", &run);
    bind<float>(m, "_float32");
    bind<double>(m, "_float64");
    nb::class_<Memory>(m, "Memory").def(nb::init<std::size_t>()).def_prop_ro("__array_interface__", &Memory::array_interface);
    m.def("isa", [] { return isa().name; });
    m.def("isas", [] {
        std::vector<std::string> names;
        for (const Isa& one : all_isas())
            if (one.runs_here) names.push_back(one.name);
        return names;
    });
    m.def("set_num_threads", &set_threads);
    m.def("get_num_threads", &get_threads);
}
