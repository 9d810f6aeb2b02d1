// How work is divided among the members of a team.
#pragma once

#include <algorithm>

#include "gemm.hpp"
#include "pool.hpp"

namespace lstmkit {
namespace LSTMKIT_NAMESPACE {

// [first, last) of n things for one member, in whole multiples of `grain`.
struct Share {
    Size first, last;
};
inline Share share(Size n, Size grain, Team team) {
    const Size pieces = round_up(n, grain) / grain;
    return {std::min(n, pieces * team.index / team.size * grain),
            std::min(n, pieces * (team.index + 1) / team.size * grain)};
}

// How many members a piece of work is worth, in products: a call of the team costs about a
// microsecond, a meeting within it half of that.
constexpr Size CALL = 100000, MEETING = 20000;
inline int members(Size work, Size worth = CALL) { return int(std::clamp<Size>(work / worth, 1, get_threads())); }

constexpr Size CHUNK = 96;  // tokens whose gates stay in the second cache

}  // namespace LSTMKIT_NAMESPACE
}  // namespace lstmkit
