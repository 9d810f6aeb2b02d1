#include "memory.hpp"

#include <cstdlib>
#include <iterator>
#include <map>
#include <mutex>
#include <new>

namespace lstmkit {

namespace {

constexpr std::size_t LARGE = 64 * 1024;          // smaller ones the C library keeps itself
constexpr std::size_t MOST_KEPT = 128 * 1024 * 1024;

// In steps of an eighth, so that sizes which vary a little find each other's blocks.
std::size_t rounded(std::size_t bytes) {
    std::size_t step = 64;
    while (step * 16 < bytes) step *= 2;
    return (bytes + step - 1) / step * step;
}

// Never destroyed: arrays may be given back at the very end of the process.
struct Kept {
    std::mutex mutex;
    std::multimap<std::size_t, void*> blocks;
    std::size_t bytes = 0;
};
Kept& kept() {
    static Kept* const the_only = new Kept;
    return *the_only;
}

}  // namespace

// Whoever cannot have the list at once goes without: so a child of fork() never waits for a thread
// that it does not have.
void* take_memory(std::size_t bytes) {
    if (bytes == 0) return nullptr;
    const std::size_t size = rounded(bytes);
    if (size >= LARGE) {
        std::unique_lock<std::mutex> lock(kept().mutex, std::try_to_lock);
        if (lock.owns_lock()) {
            // The last that came back: it may still be in a cache.
            const auto after = kept().blocks.upper_bound(size);
            const auto found = after == kept().blocks.begin() ? after : std::prev(after);
            if (found != kept().blocks.end() && found->first == size) {
                void* const memory = found->second;
                kept().blocks.erase(found);
                kept().bytes -= size;
                return memory;
            }
        }
    }
    void* const memory = std::aligned_alloc(64, size);
    if (!memory) throw std::bad_alloc();
    return memory;
}

void give_memory(void* memory, std::size_t bytes) noexcept {
    if (!memory) return;
    const std::size_t size = rounded(bytes);
    if (size >= LARGE && size <= MOST_KEPT) {
        std::unique_lock<std::mutex> lock(kept().mutex, std::try_to_lock);
        try {
            if (lock.owns_lock()) {
                kept().blocks.emplace(size, memory);
                kept().bytes += size;
                while (kept().bytes > MOST_KEPT) {
                    const auto largest = std::prev(kept().blocks.end());
                    std::free(largest->second);
                    kept().bytes -= largest->first;
                    kept().blocks.erase(largest);
                }
                return;
            }
        } catch (const std::bad_alloc&) {
        }
    }
    std::free(memory);
}

}  // namespace lstmkit
