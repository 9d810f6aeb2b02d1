#include "pool.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

#include <pthread.h>
#if defined(__linux__)
#include <sched.h>
#endif

namespace lstmkit {

namespace {

// A spinning thread must not stand on the processor that its caller works on, and the system may take
// milliseconds to see that another one is free. So a worker keeps away from the caller's.
class Elsewhere {
  public:
#if defined(__linux__)
    static int here() { return sched_getcpu(); }
    void than(int processor) {
        if (processor == avoided_) return;
        avoided_ = processor;
        cpu_set_t now;
        if (processor < 0 || sched_getaffinity(0, sizeof now, &now) != 0) return;
        if (!known_ || !CPU_EQUAL(&now, &set_)) allowed_ = now;  // the first time, or somebody else chose it
        known_ = true;
        set_ = allowed_;
        CPU_CLR(processor, &set_);
        if (CPU_COUNT(&set_) == 0) set_ = allowed_;
        sched_setaffinity(0, sizeof set_, &set_);
    }

  private:
    int avoided_ = -1;
    bool known_ = false;
    cpu_set_t allowed_{}, set_{};
#else
    static int here() { return -1; }
    void than(int) {}
#endif
};

constexpr int SPINS = 20000;    // about 0.3 ms of waiting before a worker goes to sleep
constexpr int MOST = 1024;      // threads

// One call of run_team, on its caller's stack: nobody touches it after its last count down.
class Job {
  public:
    Job(int size, Task task, void* argument)
        : size_(size), task_(task), argument_(argument), barrier_(size), caller_(Elsewhere::here()), others_(size - 1) {}

    int size() const { return size_; }
    int caller() const { return caller_; }  // the processor it is on

    // The first exception is always a member's own: Abandoned comes only after it was kept.
    void member(int index) noexcept {
        try {
            task_(argument_, Team{index, size_, &barrier_});
        } catch (...) {
            if (!failed_.exchange(true)) error_ = std::current_exception();
            barrier_.abandon();
        }
    }
    void other_member(int index) noexcept {
        member(index);
        others_.fetch_sub(1, std::memory_order_release);
    }
    // A member that its thread has not begun.
    void missed_member(int index) noexcept {
        member(index);
        others_.fetch_sub(1, std::memory_order_relaxed);
    }
    void finish() {
        spin_until([this] { return others_.load(std::memory_order_acquire) == 0; });
        if (error_) std::rethrow_exception(error_);
    }

  private:
    const int size_;
    const Task task_;
    void* const argument_;
    Barrier barrier_;
    const int caller_;
    std::atomic<bool> failed_{false};
    std::exception_ptr error_;
    alignas(64) std::atomic<int> others_;
};

// A thread with a letter box for one job.
class Worker {
  public:
    explicit Worker(int index) : index_(index), thread_([this] { work(); }) {}
    ~Worker() {
        post(nullptr, true);
        thread_.join();
    }
    void start(Job* job) { post(job, false); }
    // Take the letter back; false if the thread has it already.
    bool take_back() { return posted_.exchange(false, std::memory_order_acq_rel); }

  private:
    void post(Job* job, bool stop) {
        {
            // Under the lock, or a worker that is about to sleep would miss it.
            std::lock_guard<std::mutex> lock(mutex_);
            job_ = job, stop_ = stop;
            posted_.store(true, std::memory_order_release);
        }
        wake_.notify_one();
    }
    void work() {
        Elsewhere elsewhere;
        const auto posted = [this] { return posted_.load(std::memory_order_acquire); };
        while (true) {
            for (int spins = 0; spins < SPINS && !posted(); ++spins) relax();
            if (!posted()) {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, posted);
            }
            if (!take_back()) continue;
            if (stop_) return;
            elsewhere.than(job_->caller());
            job_->other_member(index_);
        }
    }

    const int index_;
    alignas(64) std::atomic<bool> posted_{false};
    Job* job_ = nullptr;
    bool stop_ = false;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::thread thread_;  // the last: it starts when the others are there
};

class Pool {
  public:
    // Have so many workers, or as many as the system gives.
    void grow(int workers) {
        if (workers <= asked_) return;
        asked_ = workers;
        try {
            for (int k = int(workers_.size()); k < workers; ++k) workers_.push_back(std::make_unique<Worker>(k + 1));
        } catch (const std::exception&) {
        }
    }
    void run(int size, Task task, void* argument, bool independent) {
        Job job(std::min(size, int(workers_.size()) + 1), task, argument);
        for (int k = 1; k < job.size(); ++k) workers_[size_t(k - 1)]->start(&job);
        job.member(0);
        if (independent)  // no need to wait for a thread that has not come yet
            for (int k = 1; k < job.size(); ++k)
                if (workers_[size_t(k - 1)]->take_back()) job.missed_member(k);
        job.finish();
    }

  private:
    int asked_ = 0;
    std::vector<std::unique_ptr<Worker>> workers_;
};

std::atomic<int> threads{0};

// Whoever turns in_use from false to true has the pool. The pool is never destroyed at the end of
// the process: its threads may be at work for a thread that is still running then.
std::atomic<bool> in_use{false};
Pool* pool = nullptr;

// A forked child has the memory of its parent's threads but not the threads. So an idle pool is
// closed before a fork, and made again when it is needed; of a busy one the child forgets all.
thread_local bool closed_for_fork = false;

void before_fork() {
    closed_for_fork = !in_use.exchange(true, std::memory_order_acquire);
    if (!closed_for_fork) return;
    delete pool;
    pool = nullptr;
}
void after_fork_in_parent() {
    if (closed_for_fork) in_use.store(false, std::memory_order_release);
}
void after_fork_in_child() {
    pool = nullptr;
    in_use.store(false, std::memory_order_release);
}

int default_threads() {
    for (const char* name : {"LSTMKIT_NUM_THREADS", "OMP_NUM_THREADS"})
        if (const char* value = std::getenv(name)) {
            const int count = std::atoi(value);
            if (count > 0) return std::min(count, MOST);
        }
#if defined(__linux__)
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
#endif
    return std::max(1, int(std::thread::hardware_concurrency()));
}

}  // namespace

int get_threads() {
    int count = threads.load(std::memory_order_relaxed);
    if (count) return count;
    const int found = default_threads();
    // Another thread may have set the count in the meantime: then `count` becomes that.
    return threads.compare_exchange_strong(count, found) ? found : count;
}

void set_threads(int count) { threads.store(std::clamp(count, 1, MOST), std::memory_order_relaxed); }

void run_team(int size, Task task, void* argument, bool independent) {
    if (size > 1 && !in_use.exchange(true, std::memory_order_acquire)) {
        struct Return {
            ~Return() { in_use.store(false, std::memory_order_release); }
        } when_done;
        if (!pool) {
            static const int registered = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
            (void)registered;
            pool = new Pool;
        }
        pool->grow(size - 1);
        return pool->run(size, task, argument, independent);
    }
    Barrier barrier(1);
    task(argument, Team{0, 1, &barrier});
}

}  // namespace lstmkit
