#include "dispatch.hpp"

#include <cstdlib>
#include <stdexcept>

namespace lstmkit {

#if defined(__x86_64__)
namespace sse2 { extern const Kernels kernels; }
namespace avx2 { extern const Kernels kernels; }
namespace avx512 { extern const Kernels kernels; }
#else
namespace generic { extern const Kernels kernels; }
#endif

const std::vector<Isa>& all_isas() {
    static const std::vector<Isa> isas = {
#if defined(__x86_64__)
        {"sse2", &sse2::kernels, true},
        {"avx2", &avx2::kernels, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
        {"avx512", &avx512::kernels, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")},
#elif defined(__aarch64__)
        {"neon", &generic::kernels, true},
#else
        {"generic", &generic::kernels, true},
#endif
    };
    return isas;
}

const Isa& choose_isa() {
    const char* wanted = std::getenv("LSTMKIT_ISA");
    const Isa* best = nullptr;
    std::string names;
    for (const Isa& isa : all_isas()) {
        if (!isa.runs_here) continue;
        names += (names.empty() ? "" : ", ") + std::string(isa.name);
        if (!wanted || !*wanted || isa.name == std::string(wanted)) best = &isa;
    }
    if (!best)
        throw std::invalid_argument("LSTMKIT_ISA is '" + std::string(wanted) + "'; this machine and build have " + names);
    return *best;
}

}  // namespace lstmkit
