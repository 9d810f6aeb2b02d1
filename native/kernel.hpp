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
    // x (rows, I); h (L, rows, P) and c (L, rows, H) in and out: the last layer's h is the output.
    virtual void step(const T* x, T* h, T* c) = 0;
};

template <class T> struct KernelsOf {
    void (*forward)(const Cell<T>&, const Tape<T>&);
    void (*backward)(const Cell<T>&, const Tape<T>&, const Gradients<T>&);
    std::unique_ptr<Stepper<T>> (*make_stepper)(const std::vector<Cell<T>>&, Size rows);
    void (*apply)(Activation, const T* z, T* a, Size count);  // for tests of the functions alone
};

struct Kernels {
    int vector_bytes;
    KernelsOf<float> of_float;
    KernelsOf<double> of_double;
};

}  // namespace lstmkit
