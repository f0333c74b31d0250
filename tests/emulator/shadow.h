// What is remembered of each access to memory, and which accesses are races.
//
// In: accesses, one by one.  Out: whether memory was written before it is read, and the race that an access is part of.
//
// Two accesses to the same bytes, of which at least one writes and not both are atomic, are a race unless something puts
// them in order: a barrier, within a block; a __syncwarp that both lanes took part in, within a warp; the end of a
// kernel, else.  Shuffles and votes order no memory.  So the last writers and the last readers of each element are kept,
// with the barrier interval ("epoch") in which they came and, within one warp, the lanes and the time of the warp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <sys/mman.h>
#include <utility>

enum class Access { READ, WRITE, ATOMIC };

// Numbers barrier intervals, over all launches, and the times of __syncwarp within each warp.
struct Epochs {
    uint32_t now = 0, launch = 1, block = 1;
    uint32_t warp_times[32] = {};
    void next() { ++now; }
    void begin_launch() { launch = ++now; }
    void begin_block() {
        block = ++now;
        std::memset(warp_times, 0, sizeof warp_times);
    }
    uint32_t next_of_warp(unsigned warp) { return ++warp_times[warp]; }
};

// For a lane: accesses of lane l at times of the warp before `before[l]` come before its own next access.
struct Order {
    uint32_t before[32] = {};
    void join(const Order &other) {
        for (int l = 0; l < 32; ++l)
            if (other.before[l] > before[l]) before[l] = other.before[l];
    }
};

// The last accesses of one sort to one element: all of one epoch that nothing orders.
struct Accesses {
    uint32_t epoch = 0, lanes = 0, time = 0;
    uint8_t warp = 0;
    bool several_warps = false, several_blocks = false;

    // Who made one of them that the thread's next access is not ordered after, or null.
    const char *unordered(const Epochs &e, unsigned thread, const Order &order) const {
        if (epoch < e.launch) return nullptr;
        if (several_blocks || epoch < e.block) return "another block";
        if (epoch < e.now) return nullptr;
        if (several_warps || warp != thread / 32) return "another warp";
        for (uint32_t others = lanes & ~(1u << thread % 32); others; others &= others - 1)
            if (order.before[__builtin_ctz(others)] <= time) return "another lane of the same warp, with no __syncwarp between them,";
        return nullptr;
    }
    void add(const Epochs &e, unsigned thread, const Order &order) {
        const uint32_t lane = 1u << thread % 32, now = e.warp_times[thread / 32];
        const bool elsewhere = epoch >= e.launch && (several_blocks || epoch < e.block);
        if (epoch == e.now && (several_warps || warp != thread / 32)) several_warps = true, lanes |= lane;
        else if (epoch == e.now && unordered(e, thread, order)) lanes |= lane;
        else several_warps = false, lanes = lane;
        epoch = e.now, time = now, several_blocks = elsewhere;
        warp = static_cast<uint8_t>(thread / 32);
    }
};

struct Conflict { const char *who = nullptr, *what = nullptr; };

// One piece of memory: which of its bytes have been written, and the last accesses to each of its elements.
class Shadow {
    struct Element {
        Accesses reads, writes, atomics;
        bool untouched() const { return !reads.epoch && !writes.epoch && !atomics.epoch; }
    };
    size_t bytes_;
    unsigned granule_;  // bytes of an element
    bool all_initialised_;
    uint8_t *initialised_;
    Element *elements_;

    template <class T> static T *map(size_t count) {  // zeros, without memory until they are touched
        return static_cast<T *>(mmap(nullptr, count * sizeof(T) + 1, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    }
    // An access to part of an element: halve the elements, each half with the history of the whole.
    void refine(unsigned granule) {
        const size_t count = bytes_ / granule_ + 1, times = granule_ / granule;
        Element *finer = map<Element>(count * times);
        for (size_t i = 0; i < count; ++i)
            if (!elements_[i].untouched())
                for (size_t j = 0; j < times; ++j) finer[i * times + j] = elements_[i];
        munmap(elements_, count * sizeof(Element) + 1);
        elements_ = finer, granule_ = granule;
    }

public:
    Shadow(size_t bytes, unsigned granule, bool initialised)
        : bytes_(bytes), granule_(granule), all_initialised_(initialised), initialised_(map<uint8_t>(bytes)),
          elements_(map<Element>(bytes / granule + 1)) {}
    Shadow(const Shadow &) = delete;
    ~Shadow() {
        munmap(initialised_, bytes_ + 1);
        munmap(elements_, (bytes_ / granule_ + 1) * sizeof(Element) + 1);
    }
    size_t bytes() const { return bytes_; }
    void initialise(size_t offset, size_t bytes) {
        if (!all_initialised_) std::memset(initialised_ + offset, 1, bytes);
    }
    bool is_initialised(size_t offset, size_t bytes) const {
        return all_initialised_ || !std::memchr(initialised_ + offset, 0, bytes);
    }
    void copy(size_t at, const Shadow &from, size_t start, size_t bytes) {
        if (from.all_initialised_) initialise(at, bytes);
        else if (!all_initialised_) std::memmove(initialised_ + at, from.initialised_ + start, bytes);
    }
    void forget(size_t bytes) {
        std::memset(initialised_, 0, bytes);
        std::memset(static_cast<void *>(elements_), 0, (bytes / granule_ + 1) * sizeof(Element));
    }

    Conflict record(size_t offset, size_t bytes, Access kind, const Epochs &e, unsigned thread, const Order &order) {
        while (bytes % granule_ || offset % granule_) refine(granule_ / 2);
        for (size_t i = offset / granule_; i < (offset + bytes) / granule_; ++i) {
            Element &element = elements_[i];
            if (const char *who = element.writes.unordered(e, thread, order))
                return {who, kind == Access::READ ? "has written them" : "has written them as well"};
            if (kind != Access::ATOMIC)
                if (const char *who = element.atomics.unordered(e, thread, order)) return {who, "has changed them atomically"};
            if (kind != Access::READ)
                if (const char *who = element.reads.unordered(e, thread, order)) return {who, "has read them"};
            Accesses &own = kind == Access::READ ? element.reads : kind == Access::WRITE ? element.writes : element.atomics;
            own.add(e, thread, order);
        }
        return {};
    }
};

// A part of the memory of the running block; another block finds garbage in it.
struct SharedMemory {
    char *base = nullptr;
    size_t bytes = 0;
    Shadow shadow{256 * 1024, 4, false};
    void is(char *address, size_t size) { base = address, bytes = size; }
    void begin_block(bool checked) {
        if (!bytes) return;
        std::memset(base, 0xff, bytes);
        if (checked) shadow.forget(bytes);
    }
};

// Memory that a launch may touch: an argument of it.
struct EmulationRange {
    const char *begin, *end, *base;  // base: of the allocation that it is part of, which the shadow describes
    Shadow *shadow;
    int argument;
};
