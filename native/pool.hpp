// A small team of threads that waits by spinning, because a step of an LSTM is shorter than a wake-up.
//
// A task is divided into pieces by its members' numbers, and no sum is ever split between members:
// so the size of the team cannot change a bit of the result, and a caller that finds the threads
// busy does the whole work alone. The threads sleep when nothing came for a while.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lstmkit {

inline void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("isb");  // `yield` is nothing on most cores; this one waits
#endif
}

// Spin for a while, then let others have the processor: there may be fewer than there are members.
template <class Done> void spin_until(Done done) {
    for (int spins = 0; !done(); ++spins) {
        if (spins < 4000)
            relax();
        else
            std::this_thread::yield();
    }
}

// All members arrive before any goes on.
//
// Each member of a small team has a flag in a cache line of its own and looks at the others': that
// takes one trip of a line from core to core, a common counter takes three.
class Barrier {
  public:
    // Thrown out of wait() when another member will never arrive.
    struct Abandoned {};

    explicit Barrier(int members) : members_(members) {}
    Barrier(const Barrier&) = delete;
    Barrier& operator=(const Barrier&) = delete;

    void wait(int index) {
        if (members_ == 1) return;
        if (members_ > FLAGS) return wait_for_count();
        std::atomic<unsigned>& own = flags_[index].turn;
        const unsigned turn = own.load(std::memory_order_relaxed) + 1;
        own.store(turn, std::memory_order_release);
        for (int k = 0; k < members_; ++k)
            // Another member may be one turn ahead already.
            if (k != index) spin([&] { return int(flags_[k].turn.load(std::memory_order_acquire) - turn) >= 0; });
    }

    // A member leaves for good, by an exception.
    void abandon() { abandoned_.store(true, std::memory_order_relaxed); }

  private:
    static constexpr int FLAGS = 8;
    struct alignas(64) Flag {
        std::atomic<unsigned> turn{0};
    };

    void wait_for_count() {
        // Nobody takes a ticket of the next meeting before this one is full.
        const std::uint64_t members = std::uint64_t(members_);
        const std::uint64_t full = (arrived_.fetch_add(1, std::memory_order_acq_rel) / members + 1) * members;
        spin([&] { return arrived_.load(std::memory_order_acquire) >= full; });
    }
    template <class Done> void spin(Done done) {
        spin_until([&] {
            if (done()) return true;
            if (abandoned_.load(std::memory_order_relaxed)) throw Abandoned{};
            return false;
        });
    }

    const int members_;
    Flag flags_[FLAGS];
    alignas(64) std::atomic<std::uint64_t> arrived_{0};
    alignas(64) std::atomic<bool> abandoned_{false};
};

struct Team {
    int index, size;
    Barrier* barrier;

    void wait() const { barrier->wait(index); }
};

using Task = void (*)(void* argument, Team team);

// How many threads a team may have: set_threads, else LSTMKIT_NUM_THREADS, else OMP_NUM_THREADS,
// else the processors that this process may use.
int get_threads();
void set_threads(int count);

// Run task(argument, {k, n, barrier}) for k = 0 … n − 1 at once and return when all have ended. The
// caller is member 0. n is at most `size`: less where the system gives fewer threads, and 1 where
// another caller has them. If members throw, the others are released from the barrier, and the
// first exception is thrown again here. A child of fork() gets threads of its own when it needs some.
// Where members are independent (none waits for another) the caller does what no thread has begun.
void run_team(int size, Task task, void* argument, bool independent);

// The same for work(team), anything that can be called.
template <class F> void in_team(int size, F&& work, bool independent = false) {
    const Task task = [](void* f, Team team) { (*static_cast<std::remove_reference_t<F>*>(f))(team); };
    run_team(size, task, const_cast<void*>(static_cast<const void*>(&work)), independent);
}
template <class F> void in_pieces(int size, F&& work) { in_team(size, work, true); }

}  // namespace lstmkit
