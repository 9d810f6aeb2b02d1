// What one compilation of the kernels offers; there is one for each instruction set.
#pragma once

#include <memory>
#include <vector>

#include "cell.hpp"

namespace lstmkit {

// A stack of cells that is fed one step at a time. It keeps its own copy of the weights, packed.
template <class T> class Stepper {
  public:
    virtual ~Stepper() = default;
    // x (rows, I); h (L, rows, P) and c (L, rows, H) in and out; y (rows, P) gets the last layer's h.
    virtual void step(const T* x, T* h, T* c, T* y) = 0;
};

enum class Matrix : int { ih, hh, hr };
constexpr Size UNITS = 64;  // a multiple of every vector's width

// The weights of a cell, packed once for many forward passes.
template <class T> class Prepared {
  public:
    virtual ~Prepared() = default;
    virtual bool of(const Cell<T>&) const = 0;  // whether these are the cell's weights, to the bit
    // For a cell that was prepared without its matrices, so that they need never be there as a whole:
    // pack the rows (G, units, I or P) of some hidden units; `first` is a multiple of UNITS, and so is
    // `units`, but at the end. Of W_hr (P, H) all.
    virtual void fill(Matrix, Size first, Size units, const T* rows) = 0;
    virtual void forward(const Cell<T>&, const Tape<T>&) const = 0;
};

template <class T> struct KernelsOf {
    void (*forward)(const Cell<T>&, const Tape<T>&);
    std::unique_ptr<Prepared<T>> (*prepare)(const Cell<T>&);
    void (*backward)(const Cell<T>&, const Tape<T>&, const Gradients<T>&);
    std::unique_ptr<Stepper<T>> (*make_stepper)(const std::vector<Cell<T>>&, Size rows);
    // y (rows, out) = x (rows, in) Wᵀ + b with W (out, in); b and db may be null.
    void (*linear)(Size rows, Size in, Size out, const T* x, const T* weight, const T* bias, T* y);
    void (*linear_backward)(Size rows, Size in, Size out, const T* x, const T* weight, const T* dy, T* dx, T* dweight,
                            T* dbias);
    void (*apply)(const Function<T>&, const T* z, T* a, Size count);  // for tests of the functions alone
};

struct Kernels {
    int vector_bytes;
    KernelsOf<float> of_float;
    const KernelsOf<double>& of_double;
};

}  // namespace lstmkit
