// Runs the blocks of a kernel on the CPU, a fiber for each thread, and checks what the threads do.
//
// In: a compiled kernel, its arguments, a grid and a schedule.  Out: 0, or 1 and a report of the first fault.  Knows
// neither Python nor what a kernel computes; shadow.h says what is remembered of each access.
//
// Blocks run one after another.  In a block every thread runs until it ends or waits: at a barrier for the block, at a
// shuffle, vote or __syncwarp for the lanes of its mask.  The order in which threads that can run are resumed is the
// schedule: forward, backward or random; a kernel that is right gives the same under each.
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <link.h>
#include <sys/mman.h>
#include <vector>

#include "shadow.h"
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace {

struct Index { unsigned x, y, z; };
enum Collective { SYNCWARP, SHUFFLE_INDEX, SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_XOR, BALLOT };  // as in cuda_emulation.h
const char *const NAMES[] = {"__syncwarp",      "__shfl_sync",     "__shfl_up_sync",
                             "__shfl_down_sync", "__shfl_xor_sync", "a vote (__ballot_sync, __any_sync, __all_sync)"};
enum class Wait { NOTHING, BARRIER, WARP, ENDED };
constexpr size_t STACK = 256 * 1024, PAGE = 4096;

struct Fiber {
    char *stack = nullptr;
#if defined(__x86_64__)
    void *top = nullptr;
#else
    ucontext_t context;
#endif
    Index thread{};
    unsigned number = 0;
    Wait wait = Wait::ENDED;
    int kind = 0, width = 32, line = 0, predicate = 0;  // of what it waits for
    unsigned mask = 0, operand = 0;
    uint64_t value = 0;
    Order order;  // which accesses of the other lanes of its warp come before its own
    unsigned lane() const { return number % 32; }
};

}  // namespace

extern "C" {

// What the host asks for; the same fields in native.py.
struct EmulationLaunch {
    void (*kernel)(void **);
    void **arguments;
    unsigned grid[3], block[3];
    const int64_t *blocks;  // linear numbers of the blocks to run, or null for all
    int64_t block_count;
    char *static_shared;
    int64_t static_bytes;
    char *dynamic_shared;
    int64_t dynamic_bytes;
    const char *module;  // the module's own data: constants
    int64_t module_bytes;
    const EmulationRange *ranges;
    int64_t range_count;
    int schedule;  // 0 forward, 1 backward, 2 random
    unsigned seed;
    int checked;
    int64_t limit;  // accesses of one thread, to end what would not end
};

// The first fault; the same fields in native.py.
struct EmulationReport {
    char kind[16];
    char text[1024];
    unsigned block[3], thread[3];
    int line;             // of the source, 0 where only the place in the program is known
    const void *place;
    int argument;         // range nearest to the address, or -1
    int64_t offset;       // of the address from its start
};
}

namespace {

const EmulationLaunch *launch;
EmulationReport *report;
std::vector<Fiber *> fibers;
std::vector<unsigned> turn;
Fiber *current;
Index block_index;
unsigned threads, ended, waiting;
int64_t accesses, last_range;
uint64_t random_state;
Epochs epochs;
SharedMemory shared_static, shared_dynamic;
bool failed;
sigjmp_buf back_to_launch;

// Switching between stacks

#if defined(__x86_64__)
void *scheduler_top;
extern "C" void emulation_switch(void **save, void *to);
asm(R"(
.text
.type emulation_switch, @function
emulation_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.size emulation_switch, .-emulation_switch
)");
void to_scheduler() { emulation_switch(&current->top, scheduler_top); }
void resume(Fiber *fiber) { emulation_switch(&scheduler_top, fiber->top); }
#else
ucontext_t scheduler_context;
void to_scheduler() { swapcontext(&current->context, &scheduler_context); }
void resume(Fiber *fiber) { swapcontext(&scheduler_context, &fiber->context); }
#endif

void thread_main() {
    launch->kernel(launch->arguments);
    current->wait = Wait::ENDED;
    ++ended;
    to_scheduler();
    abort();
}

void prepare(Fiber *fiber) {
    if (!fiber->stack) {
        fiber->stack = static_cast<char *>(
            mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        mprotect(fiber->stack, PAGE, PROT_NONE);  // a stack that overflows ends here
    }
#if defined(__x86_64__)
    void **top = reinterpret_cast<void **>(fiber->stack + STACK) - 2;
    *top = reinterpret_cast<void *>(thread_main);
    fiber->top = top - 6;
#else
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK;
    fiber->context.uc_link = nullptr;
    makecontext(&fiber->context, thread_main, 0);
#endif
}

// Faults: the first one is reported, and the launch ends there

[[noreturn]] void fault(const char *kind, int line, const void *place, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void fault(const char *kind, int line, const void *place, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    snprintf(report->kind, sizeof report->kind, "%s", kind);
    vsnprintf(report->text, sizeof report->text, format, arguments);
    va_end(arguments);
    const Index thread = current ? current->thread : Index{};
    report->block[0] = block_index.x, report->block[1] = block_index.y, report->block[2] = block_index.z;
    report->thread[0] = thread.x, report->thread[1] = thread.y, report->thread[2] = thread.z;
    report->line = line, report->place = place;
    failed = true;
    siglongjmp(back_to_launch, 1);
}

void on_signal(int number, siginfo_t *information, void *) {
    const char *address = static_cast<char *>(information->si_addr);
    if (number == SIGFPE) fault("division", 0, nullptr, "divides an integer by zero");
    if (current && address >= current->stack && address < current->stack + PAGE)
        fault("stack", 0, nullptr, "needs more than %zu kB of local memory", STACK / 1024);
    fault("address", 0, nullptr,
          "reaches for address %p, where there is no memory", static_cast<const void *>(address));
}

// Shuffles and votes

unsigned source_lane(const Fiber &fiber, unsigned lane) {
    const unsigned width = fiber.width, first = lane & ~(width - 1), operand = fiber.operand;
    switch (fiber.kind) {
    case SHUFFLE_INDEX: return first | (operand & (width - 1));
    case SHUFFLE_UP: return lane - first < operand ? lane : lane - operand;
    case SHUFFLE_DOWN: return lane + operand >= first + width ? lane : lane + operand;
    default: return (lane ^ operand) >= first + width ? lane : lane ^ operand;
    }
}

// Complete what the current thread waits for, if all lanes of its mask have come; a lane that has ended is not awaited.
bool complete_collective() {
    const unsigned first = current->number & ~31u, mask = current->mask;
    unsigned present = 0;
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (!(mask >> lane & 1u) || first + lane >= threads) continue;
        const Fiber &other = *fibers[first + lane];
        if (other.wait == Wait::ENDED) continue;
        if (other.wait != Wait::WARP) return false;
        if (other.kind != current->kind || other.mask != mask)
            fault("collective", current->line, nullptr,
                  "comes to %s with mask %08x, and lane %u waits at %s with mask %08x in line %d",
                  NAMES[current->kind], mask, lane, NAMES[other.kind], other.mask, other.line);
        if (other.line != current->line && current->kind != SYNCWARP)
            fault("collective", current->line, nullptr,
                  "comes to %s, and lane %u to another one, in line %d", NAMES[current->kind], lane,
                  other.line);
        present |= 1u << lane;
    }
    uint64_t before[32], votes = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        if (present >> lane & 1u) {
            before[lane] = fibers[first + lane]->value;
            votes |= static_cast<uint64_t>(before[lane] != 0) << lane;
        }
    if (current->kind == SYNCWARP && launch->checked) {
        Order together = current->order;
        for (unsigned lane = 0; lane < 32; ++lane)
            if (present >> lane & 1u) together.join(fibers[first + lane]->order);
        const uint32_t now = epochs.next_of_warp(first / 32);
        for (unsigned lane = 0; lane < 32; ++lane)
            if (present >> lane & 1u) together.before[lane] = now;
        for (unsigned lane = 0; lane < 32; ++lane)
            if (present >> lane & 1u) fibers[first + lane]->order = together;
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (!(present >> lane & 1u)) continue;
        Fiber &fiber = *fibers[first + lane];
        if (fiber.kind == BALLOT) fiber.value = votes;
        else if (fiber.kind != SYNCWARP) {
            const unsigned source = source_lane(fiber, lane);
            if (!(present >> source & 1u)) {
                current = &fiber;
                fault("collective", fiber.line, nullptr,
                      "takes the value of lane %u by %s, and that lane does not take part (mask %08x)",
                      source, NAMES[fiber.kind], mask);
            }
            fiber.value = before[source];
        }
        fiber.wait = Wait::NOTHING;
    }
    return true;
}

// Blocks

void describe_deadlock() {
    for (Fiber *fiber : fibers) {
        if (fiber->number >= threads) break;
        if (fiber->wait != Wait::WARP) continue;
        current = fiber;
        const unsigned first = fiber->number & ~31u;
        for (unsigned lane = 0; lane < 32 && first + lane < threads; ++lane) {
            const Fiber &other = *fibers[first + lane];
            if ((fiber->mask >> lane & 1u) && other.wait == Wait::BARRIER)
                fault("collective", fiber->line, nullptr,
                      "waits at %s for lane %u, which waits at a barrier in line %d",
                      NAMES[fiber->kind], lane, other.line);
        }
        fault("collective", fiber->line, nullptr,
              "waits at %s with mask %08x for lanes that never come", NAMES[fiber->kind], fiber->mask);
    }
    for (Fiber *fiber : fibers)
        if (fiber->number < threads && fiber->wait == Wait::BARRIER) {
            current = fiber;
            fault("barrier", fiber->line, nullptr,
                  "waits at a barrier that %u of %u threads have not come to: divergent barrier", ended,
                  threads);
        }
}

void pass_barrier() {
    const Fiber &first = *fibers[0];
    int count = 0;
    for (unsigned i = 0; i < threads; ++i) {
        count += fibers[i]->predicate;
        if (fibers[i]->line != first.line) {
            current = fibers[i];
            fault("barrier", current->line, nullptr,
                  "waits at another barrier than thread 0, which waits in line %d: divergent barrier",
                  first.line);
        }
    }
    for (unsigned i = 0; i < threads; ++i) {
        fibers[i]->value = count;
        fibers[i]->wait = Wait::NOTHING;
    }
    waiting = 0;
    epochs.next();
}

unsigned random_below(unsigned bound) {
    random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
    return static_cast<unsigned>((random_state >> 32) * bound >> 32);
}

void shuffle_turns() {
    for (unsigned i = threads; i > 1; --i) std::swap(turn[i - 1], turn[random_below(i)]);
}

void run_block(int64_t number) {
    const unsigned *grid = launch->grid, *size = launch->block;
    block_index = {static_cast<unsigned>(number % grid[0]), static_cast<unsigned>(number / grid[0] % grid[1]),
                   static_cast<unsigned>(number / grid[0] / grid[1])};
    epochs.begin_block();
    shared_static.begin_block(launch->checked);
    shared_dynamic.begin_block(launch->checked);
    ended = waiting = 0;
    for (unsigned i = 0; i < threads; ++i) {
        Fiber &fiber = *fibers[i];
        prepare(&fiber);
        fiber.number = i;
        fiber.thread = {i % size[0], i / size[0] % size[1], i / size[0] / size[1]};
        fiber.wait = Wait::NOTHING;
        if (launch->checked) fiber.order = Order{};
    }
    for (;;) {
        bool progress = false;
        if (launch->schedule == 2) shuffle_turns();
        for (unsigned i = 0; i < threads; ++i) {
            Fiber *fiber = fibers[turn[i]];
            if (fiber->wait != Wait::NOTHING) continue;
            current = fiber;
            accesses = 0;
            resume(fiber);
            progress = true;
        }
        if (ended == threads) return;
        if (waiting == threads) pass_barrier();
        else if (!progress) describe_deadlock();
    }
}

// One access

void access(const void *where, size_t bytes, Access kind, int line, const void *place) {
    if (!launch || failed) return;
    const char *address = static_cast<const char *>(where);
    if (current && address >= current->stack && address < current->stack + STACK) return;
    if (++accesses > launch->limit)
        fault("endless", line, place,
              "has made %lld accesses since its last barrier: it does not end", static_cast<long long>(accesses));
    const bool write = kind != Access::READ;
    const char *const verb = kind == Access::READ ? "reads" : kind == Access::WRITE ? "writes" : "changes (atomically)";
    if (bytes <= 16 && (bytes & (bytes - 1)) == 0 && reinterpret_cast<uintptr_t>(address) % bytes)
        fault("alignment", line, place, "%s %zu bytes at %p, which is not aligned", verb, bytes, where);
    Shadow *shadow = nullptr;
    size_t offset = 0;
    const char *space = "shared";
    int argument = -1;
    for (SharedMemory *memory : {&shared_static, &shared_dynamic})
        if (address >= memory->base && address + bytes <= memory->base + memory->bytes)
            shadow = &memory->shadow, offset = address - memory->base;
    for (int64_t n = 0; n < launch->range_count && !shadow; ++n) {
        const int64_t i = n ? n - (n <= last_range) : last_range; // the range that was found last comes first
        const EmulationRange &range = launch->ranges[i];
        if (address >= range.begin && address + bytes <= range.end)
            shadow = range.shadow, offset = address - range.base, space = "global", argument = range.argument, last_range = i;
    }
    if (!shadow) {
        if (address >= launch->module && address + bytes <= launch->module + launch->module_bytes) {
            if (write) fault("constant", line, place, "%s constant memory", verb);
            return;
        }
        for (unsigned i = 0; i < threads; ++i)
            if (address >= fibers[i]->stack && address < fibers[i]->stack + STACK)
                fault("local", line, place, "%s a local variable of thread %u", verb, i);
        int64_t nearest = INT64_MAX;
        for (int64_t i = 0; i < launch->range_count; ++i) {
            const EmulationRange &range = launch->ranges[i];
            const int64_t distance = address < range.begin ? range.begin - address : address - range.end;
            if (distance < nearest) nearest = distance, report->argument = range.argument, report->offset = address - range.begin;
        }
        for (const SharedMemory *memory : {&shared_static, &shared_dynamic})
            if (memory->bytes && address >= memory->base - 65536 && address < memory->base + memory->bytes + 65536) {
                report->argument = -1;
                fault("bounds", line, place,
                      "%s %zu bytes out of bounds of shared memory: at byte %lld of %lld %s ones", verb, bytes,
                      static_cast<long long>(address - memory->base), static_cast<long long>(memory->bytes),
                      memory == &shared_static ? "static" : "dynamic");
            }
        fault("bounds", line, place, "%s %zu bytes out of bounds of global memory", verb, bytes);
    }
    report->argument = argument, report->offset = offset;
    if (kind != Access::WRITE && !shadow->is_initialised(offset, bytes))
        fault("uninitialised", line, place, "%s %s memory that nothing has been written to", verb, space);
    if (write) shadow->initialise(offset, bytes);
    const Conflict conflict = shadow->record(offset, bytes, kind, epochs, current->number, current->order);
    if (conflict.what)
        fault("race", line, place,
              "%s %zu bytes of %s memory in a race: %s %s", verb, bytes, space, conflict.who, conflict.what);
    report->argument = -1;
}

}  // namespace

// What kernels call

extern "C" {

Index emulation_thread() { return current->thread; }
Index emulation_block() { return block_index; }
Index emulation_block_size() { return {launch->block[0], launch->block[1], launch->block[2]}; }
Index emulation_grid_size() { return {launch->grid[0], launch->grid[1], launch->grid[2]}; }

int emulation_barrier(int predicate, int line) {
    current->predicate = predicate;
    current->line = line;
    current->wait = Wait::BARRIER;
    ++waiting;
    to_scheduler();
    return static_cast<int>(current->value);
}

uint64_t emulation_collective(int kind, unsigned mask, uint64_t value, unsigned operand, int width, int line) {
    current->kind = kind, current->mask = mask, current->value = value;
    current->operand = operand, current->width = width, current->line = line;
    if (!(mask >> current->lane() & 1u))
        fault("collective", line, nullptr,
              "calls %s with mask %08x, in which its own lane %u is missing", NAMES[kind], mask, current->lane());
    if (width < 1 || width > 32 || (width & (width - 1)))
        fault("collective", line, nullptr, "calls %s with a width of %d, no power of two up to 32", NAMES[kind], width);
    current->wait = Wait::WARP;
    if (!complete_collective()) to_scheduler();
    return current->value;
}

void emulation_atomic(const volatile void *address, size_t bytes, int line) {
    if (launch && launch->checked) access(const_cast<const void *>(address), bytes, Access::ATOMIC, line, nullptr);
}

// What g++ -fsanitize=thread calls at each access to memory, in place of the library that is meant for it

#define PLACE __builtin_return_address(0)
#define HOOKS(bytes)                                                                                                 \
    void __tsan_read##bytes(void *a) { access(a, bytes, Access::READ, 0, PLACE); }                                   \
    void __tsan_write##bytes(void *a) { access(a, bytes, Access::WRITE, 0, PLACE); }                                 \
    void __tsan_unaligned_read##bytes(void *a) { access(a, bytes, Access::READ, 0, PLACE); }                         \
    void __tsan_unaligned_write##bytes(void *a) { access(a, bytes, Access::WRITE, 0, PLACE); }                       \
    void __tsan_volatile_read##bytes(void *a) { access(a, bytes, Access::READ, 0, PLACE); }                          \
    void __tsan_volatile_write##bytes(void *a) { access(a, bytes, Access::WRITE, 0, PLACE); }
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)
void __tsan_read_range(void *a, size_t bytes) { access(a, bytes, Access::READ, 0, PLACE); }
void __tsan_write_range(void *a, size_t bytes) { access(a, bytes, Access::WRITE, 0, PLACE); }
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}

// What g++ -fsanitize=bounds,signed-integer-overflow,... calls; the data begin with a place in the source

struct SourcePlace { const char *file; uint32_t line, column; };
#define UNDEFINED(name, kind, text, ...)                                                                                   \
    void __ubsan_handle_##name(const SourcePlace *where, ##__VA_ARGS__) { fault(kind, where->line, nullptr, text); }
#define UNDEFINED_VALUES(name, kind, text)                                                                                 \
    void __ubsan_handle_##name(const SourcePlace *where, uintptr_t a, uintptr_t b) {                                 \
        fault(kind, where->line, nullptr, text " (%lld, %lld)", static_cast<long long>(a), static_cast<long long>(b));     \
    }
UNDEFINED_VALUES(add_overflow, "overflow", "overflows a signed integer in a sum")
UNDEFINED_VALUES(sub_overflow, "overflow", "overflows a signed integer in a difference")
UNDEFINED_VALUES(mul_overflow, "overflow", "overflows a signed integer in a product")
UNDEFINED_VALUES(divrem_overflow, "division", "divides an integer by zero, or overflows in a division")
UNDEFINED_VALUES(shift_out_of_bounds, "shift", "shifts by too many bits, or a negative number")
UNDEFINED(negate_overflow, "overflow", "overflows a signed integer in a negation", uintptr_t)
void __ubsan_handle_out_of_bounds(const SourcePlace *where, uintptr_t index) {
    fault("bounds", where->line, nullptr,
          "takes element %lld of an array that has none such: out of bounds", static_cast<long long>(index));
}

// What the host calls

int emulation_launch(const EmulationLaunch *asked, EmulationReport *to) {
    launch = asked, report = to;
    failed = false, current = nullptr;
    report->argument = -1, report->line = 0, report->place = nullptr, report->text[0] = 0;
    threads = asked->block[0] * asked->block[1] * asked->block[2];
    while (fibers.size() < threads) fibers.push_back(new Fiber);
    turn.resize(threads);
    for (unsigned i = 0; i < threads; ++i) turn[i] = asked->schedule == 1 ? threads - 1 - i : i;
    random_state = 0x9e3779b97f4a7c15u ^ asked->seed;
    for (int i = 0; i < 8; ++i) random_below(2);
    shared_static.is(asked->static_shared, asked->static_bytes);
    shared_dynamic.is(asked->dynamic_shared, asked->dynamic_bytes);
    epochs.begin_launch();
    last_range = 0;

    static char signal_stack[65536];
    stack_t mine{}, theirs{};
    mine.ss_sp = signal_stack, mine.ss_size = sizeof signal_stack;
    sigaltstack(&mine, &theirs);
    struct sigaction action{}, old[3];
    action.sa_sigaction = on_signal, action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE};
    for (int i = 0; i < 3; ++i) sigaction(numbers[i], &action, &old[i]);

    if (!sigsetjmp(back_to_launch, 1)) {
        const int64_t all = static_cast<int64_t>(asked->grid[0]) * asked->grid[1] * asked->grid[2];
        const int64_t count = asked->blocks ? asked->block_count : all;
        std::vector<int64_t> order;
        if (asked->schedule == 2) {
            for (int64_t i = 0; i < count; ++i) order.push_back(i);
            for (int64_t i = count; i > 1; --i) std::swap(order[i - 1], order[random_below(static_cast<unsigned>(i))]);
        }
        for (int64_t i = 0; i < count; ++i) {
            const int64_t which = asked->schedule == 2 ? order[i] : asked->schedule == 1 ? count - 1 - i : i;
            run_block(asked->blocks ? asked->blocks[which] : which);
        }
    }
    for (int i = 0; i < 3; ++i) sigaction(numbers[i], &old[i], nullptr);
    sigaltstack(&theirs, nullptr);
    launch = nullptr, current = nullptr;
    return failed;
}

// Device memory: pages of its own between pages that may not be touched, so far apart that no small error reaches another

void *emulation_allocate(int64_t bytes, int64_t margin) {
    const int64_t inside = (bytes + PAGE - 1) / PAGE * PAGE;
    char *all = static_cast<char *>(
        mmap(nullptr, inside + 2 * margin, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (all == MAP_FAILED) return nullptr;
    if (mprotect(all + margin, inside, PROT_READ | PROT_WRITE)) return nullptr;
    return all + margin;
}
void emulation_release(void *memory, int64_t bytes, int64_t margin) {
    munmap(static_cast<char *>(memory) - margin, (bytes + PAGE - 1) / PAGE * PAGE + 2 * margin);
}
// Where the module that contains an address has its data, and its thread-local variables: its shared memory
struct EmulationModule { const char *inside; char *begin, *end, *thread_local_data; };
static int look(dl_phdr_info *module, size_t, void *data) {
    auto *found = static_cast<EmulationModule *>(data);
    char *begin = nullptr, *end = nullptr;
    for (int i = 0; i < module->dlpi_phnum; ++i) {
        const auto &part = module->dlpi_phdr[i];
        char *here = reinterpret_cast<char *>(module->dlpi_addr + part.p_vaddr);
        if (part.p_type == PT_LOAD) begin = begin ? begin : here, end = here + part.p_memsz;
    }
    if (found->inside < begin || found->inside >= end) return 0;
    found->begin = begin, found->end = end;
    found->thread_local_data = static_cast<char *>(module->dlpi_tls_data);
    return 1;
}
int emulation_find_module(EmulationModule *module) { return dl_iterate_phdr(look, module); }
Shadow *emulation_shadow(int64_t bytes, int granule, int initialised) { return new Shadow(bytes, granule, initialised); }
void emulation_shadow_release(Shadow *shadow) { delete shadow; }
void emulation_shadow_initialise(Shadow *shadow, int64_t offset, int64_t bytes) { shadow->initialise(offset, bytes); }
void emulation_shadow_copy(Shadow *to, int64_t at, const Shadow *from, int64_t start, int64_t bytes) {
    to->copy(at, *from, start, bytes);
}
int emulation_shadow_is_initialised(const Shadow *shadow, int64_t offset, int64_t bytes) {
    return shadow->is_initialised(offset, bytes);
}
}
