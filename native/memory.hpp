// Memory that is used again. A fresh page costs its first touch a fault, and zeroing: up to microseconds
// for 4 KiB, more than the arithmetic that is done on it. So large blocks that were given back are kept,
// at most 128 MiB of them.
#pragma once

#include <cstddef>

namespace lstmkit {

// At least so many bytes, aligned to 64; throws std::bad_alloc. Null for none.
void* take_memory(std::size_t bytes);

// Give back what take_memory(bytes) gave.
void give_memory(void* memory, std::size_t bytes) noexcept;

template <class T> class Buffer {
  public:
    explicit Buffer(long long count) : bytes_(count > 0 ? std::size_t(count) * sizeof(T) : 0) {
        data_ = static_cast<T*>(take_memory(bytes_));
    }
    ~Buffer() { give_memory(data_, bytes_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    T* data() const { return data_; }

  private:
    std::size_t bytes_;
    T* data_;
};

}  // namespace lstmkit
