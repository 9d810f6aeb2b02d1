// Which compilation of the kernels runs here.
#pragma once

#include <string>
#include <vector>

#include "kernel.hpp"

namespace lstmkit {

struct Isa {
    const char* name;
    const Kernels* kernels;
    bool runs_here;
};

// All that this build has, the widest last.
const std::vector<Isa>& all_isas();

// The widest that runs here, or the one that LSTMKIT_ISA names; throws std::invalid_argument.
const Isa& choose_isa();

}  // namespace lstmkit
