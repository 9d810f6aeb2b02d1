// A small team of threads that waits by spinning, because a step of an LSTM is shorter than a wake-up.
//
// A task is divided into pieces by its members' numbers, and no sum is ever split between members:
// so the size of the team cannot change a bit of the result, and a caller that finds the threads
// busy does the whole work alone. The threads sleep when nothing came for a while.
#pragma once

#include <atomic>
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
class Barrier {
  public:
    // Thrown out of wait() when another member will never arrive.
    struct Abandoned {};

    explicit Barrier(int members) : members_(members) {}
    Barrier(const Barrier&) = delete;
    Barrier& operator=(const Barrier&) = delete;

    void wait() {
        if (members_ == 1) return;
        const unsigned turn = turn_.load(std::memory_order_relaxed);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members_) {
            arrived_.store(0, std::memory_order_relaxed);
            turn_.store(turn + 1, std::memory_order_release);
            return;
        }
        spin_until([&] {
            if (turn_.load(std::memory_order_acquire) != turn) return true;
            if (abandoned_.load(std::memory_order_relaxed)) throw Abandoned{};
            return false;
        });
    }

    // A member leaves for good, by an exception.
    void abandon() { abandoned_.store(true, std::memory_order_relaxed); }

  private:
    const int members_;
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<unsigned> turn_{0};
    std::atomic<bool> abandoned_{false};
};

struct Team {
    int index, size;
    Barrier* barrier;
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
void run_team(int size, Task task, void* argument);

// The same for work(team), anything that can be called.
template <class F> void in_team(int size, F&& work) {
    run_team(size, [](void* f, Team team) { (*static_cast<std::remove_reference_t<F>*>(f))(team); }, &work);
}

}  // namespace lstmkit
