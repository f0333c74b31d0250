"""The emulator on small kernels: it detects each kind of fault and accepts correct code."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest

from tests import emulator
from tests.emulator import KernelFault, Mode, emulated_cupy
from tests.emulator.device import CaptureError, OrderError, OutOfMemoryError, UseAfterFree, machine
from tests.emulator.kernels import CompileException, CUDADriverError, LaunchError

emulator.need()

F, I32 = np.float32, np.int32
Faulty = Callable[..., AbstractContextManager[None]]
ANY = [Mode(schedule=schedule, seed=3, access_limit=10_000) for schedule in ("forward", "backward", "random")]
SCHEDULES = [mode.schedule for mode in ANY]


@pytest.fixture(scope="module", params=ANY, ids=SCHEDULES)
def any_cupy(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The stand-in, under each schedule in turn."""
    with emulated_cupy(request.param) as cupy:
        yield cupy


@pytest.fixture
def cupy() -> Iterator[Any]:
    """The stand-in."""
    with emulated_cupy(Mode()) as stand_in:
        yield stand_in


@pytest.fixture(scope="session")
def faulty(refused: Any) -> Faulty:
    """Expect a fault of a kind, or of one of several, whose report names values: `refused`."""

    @contextmanager
    def fault(kinds: str, *named: object) -> Iterator[None]:
        with refused(KernelFault, *named) as caught:
            yield
        assert caught.value.kind in kinds.split(), caught.value

    return fault


def kernel(cupy: Any, body: str, parameters: str = "float *x, int n", ahead: str = "", *options: str) -> Any:
    """A kernel `k`, with its index in t, lane and c."""
    head = "const int t = threadIdx.x, lane = t % 32, c = blockIdx.x * blockDim.x + t;"
    source = f'{ahead}\nextern "C" __global__ void k({parameters}) {{\n{head}\n{body}\n}}'
    return cupy.RawModule(code=source, options=("-std=c++17", *options)).get_function("k")


def one_of(cupy: Any, name: str) -> Any:
    """The kernel of that name in SOUND or FAULTS, all of which are compiled as one module."""
    bodies = SOUND | {name: body for name, (body, *_) in FAULTS.items()}
    head = "const int t = threadIdx.x, lane = t % 32, c = blockIdx.x * blockDim.x + t;"
    kernels = [
        f'extern "C" __global__ void k{i}(float *x, int n) {{ {head}\n{b}\n}}\n' for i, b in enumerate(bodies.values())
    ]
    source = "__constant__ float TABLE[4] = {1, 2, 3, 4};\n" + "".join(kernels)
    return cupy.RawModule(code=source, options=("-std=c++17",)).get_function(f"k{list(bodies).index(name)}")


# What kernels may do. x is a device array of 256 zeros; the kernel runs in 2 blocks of 64 threads.

SOUND = {
    "each thread its own": "if (c < n) x[c] += 1;",
    "shared memory after a barrier": "__shared__ float s[64]; s[t] = t; __syncthreads(); x[c] = s[63 - t];",
    "shared memory after __syncwarp": "__shared__ float s[64]; s[t] = t; __syncwarp(); x[c] = s[t ^ 1];",
    "dynamic shared memory": "extern __shared__ float d[]; d[t] = t; __syncthreads(); x[c] = d[63 - t];",
    "a sum by shuffles": "float v = t; for (int o = 16; o; o /= 2) v += __shfl_xor_sync(~0u, v, o); x[c] = v;",
    "shuffles of some lanes": "if (lane < 8) x[c] = __shfl_down_sync(0xffu, (float)t, 1, 8);",
    "votes": "unsigned m = __ballot_sync(~0u, lane < 3); x[c] = m + __any_sync(~0u, t == 5) + __all_sync(~0u, 1);",
    "atomic sums": "atomicAdd(&x[0], 1.0f); __syncthreads();",
    "many atomics on shared memory": "__shared__ int m; if (t == 0) m = 0; __syncthreads(); atomicMax(&m, t); "
    "__syncthreads(); x[c] = m;",
    "warps that end early": "if (t >= 32) return; __syncwarp(); x[c] = __shfl_sync(~0u, (float)t, 3);",
    "reading together": "x[c] = x[c] + 1; float y = n > 300 ? x[0] : 0; (void)y;",
    "a barrier in a loop": "__shared__ float s; for (int i = 0; i < 5; ++i) { if (t == i) s = i; __syncthreads(); "
    "x[c] += s; __syncthreads(); }",
    "constants of the module": "x[c] = TABLE[t % 4];",
    "a local array": "float v[4]; for (int i = 0; i < 4; ++i) v[i] = i + t; x[c] = v[t % 4];",
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_kernel_is_accepted(any_cupy: Any, name: str) -> None:
    k = one_of(any_cupy, name)
    x = any_cupy.zeros(256, F)
    k((2,), (64,), (x, I32(128)), shared_mem=256)
    x.get()


# What they may not do, the kinds of fault that it may be, and what the report names.

FAULTS: dict[str, tuple[str, ...]] = {
    "past the end": ("x[c + n] = 1;", "bounds", "argument 0", "x (float32[256])"),
    "before the beginning": ("x[c - 1] = 1;", "bounds", "byte -4", "argument 0"),
    "reading past the end": ("float y = x[c + n]; x[c] = y;", "bounds", "reads 4 bytes"),
    "far away": ("x[c + (1 << 28)] = 1;", "bounds", "global memory"),
    "a null pointer": ("*(float *)nullptr = 1;", "bounds", "global memory"),
    "an atomic out of bounds": ("atomicAdd(&x[c + n], 1.0f);", "bounds", "atomically", "4 bytes"),
    "alignment": ("*(int *)((char *)x + 2) = 1;", "alignment"),
    "beyond static shared memory": ("__shared__ float s[64]; s[t + 1] = 1; x[c] = 1;", "bounds"),
    "beyond static shared memory by a pointer": (
        "__shared__ float s[64]; float *p = s; p[t + n - 254] = 1;",
        *("bounds", "256", "static"),
    ),
    "beyond dynamic shared memory": (
        "extern __shared__ float d[]; d[t + 1] = 1; x[c] = 1;",
        *("bounds", "256", "dynamic"),
    ),
    "beyond a local array": ("float v[4]; v[t % 5] = 1; x[c] = v[t % 4];", "bounds", "element 4"),
    "uninitialised shared memory": (
        "__shared__ float s[64]; x[c] = s[t];",
        *("uninitialised", "shared memory"),
    ),
    "shared memory of the block before": (
        "__shared__ float s[64]; if (blockIdx.x == (n == 256 ? 0 : 1)) s[t] = 1; x[c] = s[t];",
        *("uninitialised", "shared memory"),
    ),
    "no barrier": (
        "__shared__ float s[64]; s[t] = t; x[c] = s[63 - t];",
        *("race uninitialised", "shared memory"),
    ),
    "no second barrier": (
        "__shared__ float s[64]; for (int i = 0; i < 2; ++i) { s[t] = i; __syncthreads(); x[c] += s[63 - t]; }",
        *("race", "warp"),
    ),
    "no __syncwarp": (
        "__shared__ float s[64]; s[t] = 0; __syncthreads(); s[t] = t; x[c] = s[t ^ 1];",
        *("race", "lane", "__syncwarp"),
    ),
    "a shuffle in place of __syncwarp": (
        "__shared__ float s[64]; s[t] = 0; __syncthreads(); s[t] = t; __shfl_sync(~0u, t, 0); x[c] = s[t ^ 1];",
        *("race", "lane", "__syncwarp"),
    ),
    "__syncwarp of other lanes": (
        "__shared__ float s[64]; s[t] = t; if (lane < 16) __syncwarp(0xffff); else __syncwarp(0xffff0000); "
        "if (lane == 0) x[c] = s[t + 16];",
        *("race uninitialised", "shared memory"),
    ),
    "several lanes write one number": ("if (c < 2) x[7] = 1;", "race", "lane", "writes", "written"),
    "blocks write one number": ("if (t == 0) x[7] = 1;", "race", "block", "writes", "written"),
    "a block reads what another writes": (
        "if (t == 0) x[blockIdx.x] = x[1 - blockIdx.x];",
        *("race", "block"),
    ),
    "blocks add without atomics": ("if (t == 0) x[7] += 1;", "race", "block"),
    "atomic and plain": ("if (t == 40) x[7] = 1; else atomicAdd(&x[7], 1.0f);", "race"),
    "plain in one block, atomic in another": (
        "if (t == 0) { if (blockIdx.x) x[7] = 1; else atomicAdd(&x[7], 1.0f); }",
        "race",
    ),
    "part of an element": ("if (c == 0) ((short *)x)[1] = 1; if (c == 40) x[0] = 2;", "race"),
    "a barrier for some": ("if (t < 32) __syncthreads();", "barrier"),
    "a barrier after some have ended": ("if (t == 3) return; __syncthreads();", "barrier"),
    "two barriers": ("if (t < 32) {\n__syncthreads();\n} else {\n__syncthreads(); }", "barrier"),
    "a shuffle for some": (
        "if (lane < 16) x[c] = __shfl_sync(~0u, t, 0); else __syncthreads();",
        "collective",
        "__shfl_sync",
        "barrier",
    ),
    "a lane outside its mask": ("x[c] = __shfl_sync(0xffffu, t, 0);", "collective", "0000ffff", "lane"),
    "a value of a lane outside": (
        "if (lane < 16) x[c] = __shfl_sync(0xffffu, t, 20);",
        *("collective", "lane 20", "__shfl_sync", "0000ffff"),
    ),
    "two masks": (
        "x[c] = lane < 16 ? __shfl_sync(~0u, t, 0) : __shfl_sync(0xfffffffeu, t, 1);",
        "collective",
        "ffffffff",
        "fffffffe",
    ),
    "two shuffles": (
        "if (lane < 16)\n__shfl_sync(~0u, t, 0);\nelse\n__shfl_sync(~0u, t, 0);",
        *("collective", "__shfl_sync", "line"),
    ),
    "a width that is none": ("x[c] = __shfl_sync(~0u, t, 0, 24);", "collective", "__shfl_sync", "24"),
    "an integer overflow": ("int i = n * 100000; x[c] = i * 1000;", "overflow", "product"),
    "a shift by too much": ("x[c] = 1 << (n + t);", "shift"),
    "a division by zero": ("x[c] = t / (n - 256);", "division"),
    "no end": ("for (volatile int *p = (volatile int *)x; *p == 0;) {}", "endless"),
    "writing a constant": ("*(float *)TABLE = 1; x[c] = TABLE[t % 4];", "constant", "writes"),
    "a variable of another thread": (
        "__shared__ float *p; float v[2]; v[t % 2] = t; if (t == 0) p = v; __syncthreads(); "
        "if (t == 5) x[c] = p[n - 256]; __syncthreads(); x[c + 64] = v[t % 2];",
        *("local", "reads", "thread 0"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_caught(any_cupy: Any, name: str, faulty: Faulty) -> None:
    _, kinds, *named = FAULTS[name]
    k = one_of(any_cupy, name)
    x = any_cupy.zeros(256, F)
    with faulty(kinds, *named):
        k((2,), (64,), (x, I32(256)), shared_mem=256)


def test_report_names_place_thread_and_array(cupy: Any, faulty: Faulty) -> None:
    k = kernel(cupy, '#line 7 "some.cu"\nint i = c;\n\nx[i + 5] = n;')
    named = (
        "k: ",
        "block (1, 0, 0)",
        "thread (59, 0, 0)",
        "writes 4 bytes",
        "byte 512",
        "argument 0",
        "x (float32[2, 64])",
    )
    with faulty("bounds", *named, "\n    some.cu 9: x[i + 5] = n;"):
        k((2,), (64,), (cupy.zeros((2, 64), F), I32(1)))


def test_what_depends_on_the_schedule_differs() -> None:
    """The checks apart, an order that matters shows: here the last thread to come wins."""
    results = []
    for mode in (Mode(checked=False), Mode(checked=False, schedule="backward"), Mode(checked=False, schedule="random")):
        with emulated_cupy(mode) as cupy:
            x = cupy.zeros(4, F)
            kernel(cupy, "x[0] = c; x[1] = blockIdx.x;")((2,), (64,), (x, I32(0)))
            results.append(x.get().tolist())
    assert results[:2] == [[127, 1, 0, 0], [0, 0, 0, 0]]
    assert results[2] not in results[:2]


def test_without_the_checks_a_crash_is_a_report(faulty: Faulty) -> None:
    with emulated_cupy(Mode(checked=False)) as cupy:
        x = cupy.zeros(4, F)
        with faulty("address", "k: ", "block (0, 0, 0)", "thread (3, 0, 0)"):
            kernel(cupy, "if (t == 3) x[1 << 18] = 1;")((1,), (64,), (x, I32(0)))
        with faulty("division"):
            kernel(cupy, "x[0] = t / n;")((1,), (1,), (x, I32(0)))
        with faulty("stack", "256 kB"):
            kernel(cupy, "volatile float big[65000]; big[n] = 1; x[0] = big[n];")((1,), (1,), (x, I32(0)))
        assert x.get()[1] == 0  # and the next kernel can run
        kernel(cupy, "x[c] = 2;")((1,), (4,), (x, I32(0)))
        assert x.get().tolist() == [2, 2, 2, 2]


def test_uninitialised_memory_is_garbage_and_reading_it_a_fault(cupy: Any, faulty: Faulty) -> None:
    x = cupy.empty(64, F)
    assert np.isnan(x.get()).all()
    k = kernel(cupy, "x[c] += 1;")
    with faulty("uninitialised", "global memory"):
        k((1,), (64,), (x, I32(0)))
    x[:32] = 0
    with faulty("uninitialised", "byte 128"):
        k((1,), (64,), (x, I32(0)))
    y = cupy.empty(64, F)
    y[...] = x  # a copy of garbage is garbage
    with faulty("uninitialised", "byte 128"):
        k((1,), (64,), (y, I32(0)))
    y[...] = cupy.zeros(64, F)
    k((1,), (64,), (y, I32(0)))


def test_memory_is_what_the_argument_is(cupy: Any, faulty: Faulty) -> None:
    """A kernel that is given a part of an array may not go beyond it."""
    x = cupy.zeros(128, F)
    with faulty("bounds", "byte 128", "argument 0"):
        kernel(cupy, "x[c] = 1;")((1,), (64,), (x[:32], I32(0)))


# Large grids: only some blocks run, and memory is not allocated until it is touched


@pytest.mark.parametrize("index", ["c * n", "c * (unsigned)n", "(long long)c * n"])
def test_index_that_overflows_at_the_end_of_a_huge_grid(cupy: Any, index: str, faulty: Faulty) -> None:
    n, blocks = 4096, 20_000
    machine().device_bytes = 2**40
    x = cupy.zeros((64 * blocks, n), F)  # 21 GB
    k = kernel(cupy, f"x[{index} + n - 1] = 1;")
    k((blocks,), (64,), (x, I32(n)), blocks=[0, 1])
    if index == "(long long)c * n":
        k((blocks,), (64,), (x, I32(n)), blocks=[blocks - 1])
        assert x[-64:, -1].get().tolist() == [1] * 64
    elif index == "c * n":
        with faulty("overflow", "product"):
            k((blocks,), (64,), (x, I32(n)), blocks=[blocks - 1])
    else:  # unsigned numbers may overflow; what is written is then missing where it should be
        k((blocks,), (64,), (x, I32(n)), blocks=[blocks - 1])
        assert x[-64:, -1].get().tolist() == [0] * 64


# Arithmetic


def test_sixteen_bits_are_those_of_numpy(cupy: Any) -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate(
        [rng.standard_normal(5000) * 10.0 ** rng.integers(-9, 6, 5000), [0, -0.0, 65519, 65520, 1e30, 6e-8, 3e-8]]
    )
    x = x.astype(F)
    k = kernel(
        cupy,
        "if (c < n) { h[c] = __float2half_rn(x[c]); b[c] = __float2bfloat16_rn(x[c]); "
        "y[c] = __half2float(h[c]); z[c] = __bfloat162float(b[c]); }",
        "const float *x, __half *h, __nv_bfloat16 *b, float *y, float *z, int n",
        "#include <cuda_fp16.h>\n#include <cuda_bf16.h>",
    )
    h, b, y, z = (
        cupy.empty(len(x), np.float16),
        cupy.empty(len(x), np.uint16),
        *(cupy.empty(len(x), F) for _ in range(2)),
    )
    k((-(-len(x) // 64),), (64,), (cupy.asarray(x), h, b, y, z, I32(len(x))))
    with np.errstate(over="ignore"):
        assert np.array_equal(h.get(), x.astype(np.float16))
    assert np.array_equal(y.get(), h.get().astype(F))
    bits = x.view(np.uint32).astype(np.uint64)
    assert np.array_equal(b.get(), ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16))
    assert np.array_equal(z.get().view(np.uint32), b.get().astype(np.uint32) << 16)


def test_words_of_the_machine(cupy: Any) -> None:
    k = kernel(
        cupy,
        "x[0] = __popc(0xf0f0u); x[1] = __clz(1); x[2] = __ffs(8); x[3] = __umulhi(1u << 31, 6u); x[4] = max(3, 7u); "
        "x[5] = min(2.5f, 1); x[6] = __fmaf_rn(2, 3, 4); x[7] = rsqrtf(4); x[8] = __float_as_uint(1.0f) >> 23;"
        "x[9] = __shfl_up_sync(1u, 5.5, 1); x[10] = __brev(1u) >> 31; x[11] = fmaxf(1.0f, n);",
    )
    x = cupy.zeros(12, F)
    k((1,), (1,), (x, I32(2)))
    assert x.get().tolist() == [8, 31, 4, 3, 7, 1, 10, 0.5, 127, 5.5, 1, 2]


# Launches that CuPy or the driver would refuse, or let pass and go wrong


def bad_launches() -> dict[str, tuple[Callable[[Any, Any], Any], *tuple[str, ...]]]:
    """Name to a launch of k(float *x, int n), and what the error names."""
    return {
        "a Python float": (
            lambda cp, k: k((1,), (1,), (cp.zeros(9, F), 2.0)),
            *("n", "float64"),
        ),
        "a Python int": (lambda cp, k: k((1,), (1,), (cp.zeros(9, F), 2)), "n", "int64"),
        "a Python bool": (lambda cp, k: k((1,), (1,), (cp.zeros(9, F), True)), "n", "bool"),
        "another type of scalar": (lambda cp, k: k((1,), (1,), (cp.zeros(9, F), np.uint32(1))), "n", "uint32"),
        "another type of array": (lambda cp, k: k((1,), (1,), (cp.zeros(9), I32(1))), "x", "float *", "float64"),
        "a host array": (
            lambda cp, k: k((1,), (1,), (np.zeros(9, F), I32(1))),
            *("x", "ndarray"),
        ),
        "an address": (
            lambda cp, k: k((1,), (1,), (cp.zeros(9, F).data.ptr, I32(1))),
            *("x", "not int"),
        ),
        "swapped": (lambda cp, k: k((1,), (1,), (I32(1), cp.zeros(9, F))), "x", "int32"),
        "an array for a number": (lambda cp, k: k((1,), (1,), (cp.zeros(9, F), cp.zeros(1, I32))), "n", "int32[1]"),
        "not contiguous": (
            lambda cp, k: k((1,), (1,), (cp.zeros((9, 9), F)[:, 0], I32(1))),
            *("x", "contiguous"),
        ),
        "too few": (lambda cp, k: k((1,), (1,), (cp.zeros(9, F),)), " 2 ", " 1"),
        "too many": (lambda cp, k: k((1,), (1,), (cp.zeros(9, F), I32(1), I32(1))), " 2 ", " 3"),
        "a list": (lambda cp, k: k((1,), (1,), [cp.zeros(9, F), I32(1)]), "tuple", "list"),
        "no blocks": (lambda cp, k: k((0,), (1,), (cp.zeros(9, F), I32(1))), " 0 ", "2147483647"),
        "a large y": (lambda cp, k: k((1, 70000), (1,), (cp.zeros(9, F), I32(1))), "70000", "65535"),
        "a float in the grid": (lambda cp, k: k((1.0,), (1,), (cp.zeros(9, F), I32(1))), "1.0"),
        "a large block": (lambda cp, k: k((1,), (32, 33), (cp.zeros(9, F), I32(1))), "1056"),
        "shared memory": (
            lambda cp, k: k((1,), (1,), (cp.zeros(9, F), I32(1)), shared_mem=50000),
            *("50000", "49152"),
        ),
    }


@pytest.mark.parametrize("name", bad_launches())
def test_bad_launch_is_refused(cupy: Any, name: str, refused: Any) -> None:
    launch, *named = bad_launches()[name]
    with refused(LaunchError, "k", *named):
        launch(cupy, kernel(cupy, "x[0] = n;"))


def test_launch_bounds_and_shared_memory_that_is_asked_for(cupy: Any, refused: Any) -> None:
    source = (
        'extern "C" __global__ void __launch_bounds__(32 * WARPS) k(float *x) '
        "{ extern __shared__ float d[]; d[12500] = 1; }"
    )
    k = cupy.RawModule(code=source, options=("-DWARPS=2",)).get_function("k")
    with refused(LaunchError, "k", "128", "64"):
        k((1,), (128,), (cupy.zeros(1, F),))
    k.max_dynamic_shared_size_bytes = 60000
    k((1,), (1,), (cupy.zeros(1, F),), shared_mem=60000)
    with pytest.raises(CUDADriverError):
        k.max_dynamic_shared_size_bytes = 170_000


def test_restricted_arguments_may_not_overlap(cupy: Any, refused: Any) -> None:
    k = kernel(cupy, "y[c] = x[c];", "const float *__restrict__ x, float *__restrict__ y")
    x = cupy.zeros(64, F)
    k((1,), (32,), (x[:32], x[32:]))
    with refused(LaunchError, "0, x", "1, y", "__restrict__"):
        k((1,), (32,), (x[:40], x[32:]))


def test_source_that_does_not_compile(cupy: Any, refused: Any) -> None:
    with refused(CompileException, "activemask"):
        kernel(cupy, "x[0] = __activemask();")
    with refused(CUDADriverError, "other", "k"):
        cupy.RawModule(code='extern "C" __global__ void k() {}').get_function("other")
    with refused(CompileException, "uninitialized"):
        kernel(cupy, "float v; x[c] = v;")


def test_parameters_are_read_through_macros(cupy: Any) -> None:
    source = (
        "#define COMMON const REAL *__restrict__ a, unsigned /* b, c */ b\ntypedef unsigned long long Sum;\n"
        'extern "C" __global__ void k(COMMON, Sum *sum, long long d, bool e, unsigned short *f) {} // void k(int)\n'
    )
    k = cupy.RawModule(code=source, options=("-DREAL=double",)).get_function("k")
    found = [(p.name, str(p), p.restricted) for p in k.kernel.parameters]
    assert found == [
        ("a", "const double *", True),
        ("b", "uint32_t", False),
        ("sum", "uint64_t *", False),
        ("d", "int64_t", False),
        ("e", "bool", False),
        ("f", "uint16_t *", False),
    ]


# Arrays


def refused_by_arrays() -> dict[str, Callable[[Any, Any, Any], Any]]:
    """Operations that mix host and device, or would run one of CuPy's kernels, by name."""
    return {
        "numpy of it": lambda cp, d, h: np.asarray(d),
        "a ufunc": lambda cp, d, h: np.exp(d),
        "a numpy function": lambda cp, d, h: np.concatenate([d, d]),
        "a sum with the host": lambda cp, d, h: d + h,
        "a sum with the host, from the left": lambda cp, d, h: h + d,
        "assigning the host": lambda cp, d, h: d.__setitem__(slice(None), h),
        "assigning to the host": lambda cp, d, h: h.__setitem__(slice(None), d),
        "copying the host": lambda cp, d, h: cp.copyto(d, h),
        "setting from a device array": lambda cp, d, h: d.set(d),
        "setting another type": lambda cp, d, h: d.set(h.astype(np.float64)),
        "asnumpy of the host": lambda cp, d, h: cp.asnumpy(h),
        "fancy indices": lambda cp, d, h: d[np.array([1, 2])],
        "truth": lambda cp, d, h: bool(d[0]),
        "a float": lambda cp, d, h: float(d[0]),
        "a loop": lambda cp, d, h: list(d),
    }


@pytest.mark.parametrize("name", refused_by_arrays())
def test_array_refuses(cupy: Any, name: str) -> None:
    with pytest.raises(TypeError):
        refused_by_arrays()[name](cupy, cupy.zeros(4, F), np.zeros(4, F))


def test_array_has_no_arithmetic(cupy: Any, refused: Any) -> None:
    with refused(AttributeError, "sum", "CuPy"):
        cupy.zeros(3).sum()
    with refused(ValueError, (3,), (4,)):
        cupy.zeros(3).set(np.zeros(4))
    with refused(ValueError, "reshape", "contiguous"):
        cupy.zeros((3, 4)).T.reshape(12)


def test_arrays_move_data(cupy: Any) -> None:
    host = np.arange(12, dtype=I32).reshape(3, 4)
    a = cupy.asarray(host)
    assert a.flags.c_contiguous
    assert a.nbytes == 48
    assert a.data.ptr
    assert len(a) == 3
    assert np.array_equal(a.get(), host)
    assert np.array_equal(cupy.asnumpy(a[1:, :2]), host[1:, :2])
    a[1] = 7
    a[0, 2:] = cupy.asarray(np.array([-1, -2], I32))
    assert a.get().tolist() == [[0, 1, -1, -2], [7] * 4, [8, 9, 10, 11]]
    b = a.copy()
    a.fill(0)
    assert b.get()[2, 3] == 11
    assert a.get().sum() == 0
    assert b[2, 3].item() == 11
    assert b.view(np.uint32).dtype == np.uint32
    assert b.ravel().shape == (12,)
    assert cupy.full(3, 2.5, F).get().tolist() == [2.5] * 3
    assert cupy.arange(3).get().tolist() == [0, 1, 2]
    assert b.astype(np.float64).get()[0, 1] == 1.0


def test_memory_is_counted_and_given_back(cupy: Any) -> None:
    free, total = cupy.cuda.Device(0).mem_info
    a = cupy.zeros(1000, np.float64)
    assert cupy.cuda.runtime.memGetInfo() == (free - 8192, total)
    del a
    gc.collect()
    assert cupy.cuda.Device(0).mem_info == (free, total)
    with pytest.raises(OutOfMemoryError):
        cupy.empty(total, np.uint8), cupy.empty(512, np.uint8)


# Devices, streams, graphs


def test_devices_keep_their_arrays(cupy: Any, refused: Any) -> None:
    x = cupy.zeros(4, F)
    with cupy.cuda.Device(1):
        assert cupy.cuda.runtime.getDevice() == 1
        with refused(ValueError, "device 0", "device 1"):
            kernel(cupy, "x[0] = 1;")((1,), (1,), (x, I32(0)))
        own = cupy.cuda.Stream()
    with pytest.raises(RuntimeError, match="does not match"), own:
        pass
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        cupy.cuda.Device(2)


def test_streams_without_order(cupy: Any, refused: Any) -> None:
    x, k = cupy.zeros(64, F), kernel(cupy, "x[c] += 1;")
    one, other = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    cupy.cuda.Device().synchronize()
    with one:
        k((1,), (64,), (x, I32(0)))
    with refused(OrderError, "kernel k", "writes", "another stream"):
        k((1,), (64,), (x, I32(0)), stream=other)
    with refused(OrderError, "reads", "another stream"):
        x.get()  # on the default stream, for which a non-blocking one does not wait
    other.wait_event(one.record())
    k((1,), (64,), (x, I32(0)), stream=other)
    other.synchronize()
    assert x.get()[0] == 2


def test_the_default_stream_waits_for_blocking_ones(cupy: Any) -> None:
    x, k, one = cupy.zeros(64, F), kernel(cupy, "x[c] += 1;"), cupy.cuda.Stream()
    k((1,), (64,), (x, I32(0)), stream=one)
    k((1,), (64,), (x, I32(0)))
    assert x.get()[0] == 2


def test_reading_together_needs_no_order(cupy: Any) -> None:
    x, y = cupy.zeros(64, F), [cupy.zeros(64, F) for _ in range(2)]
    k = kernel(cupy, "y[c] = x[c];", "const float *x, float *y")
    cupy.cuda.Device().synchronize()
    for out in y:
        k((1,), (64,), (x, out), stream=cupy.cuda.Stream(non_blocking=True))


def test_copies_that_do_not_block_arrive_when_waited_for(cupy: Any, refused: Any) -> None:
    import cupyx

    stream = cupy.cuda.Stream(non_blocking=True)
    host = cupyx.empty_pinned(4, F)
    with stream:
        x = cupy.full(4, 3, F)
        x.get(out=host, blocking=False)
        assert np.isnan(host).all()
        stream.synchronize()
        assert host.tolist() == [3] * 4
        x.set(host)
        host[0] = 5
        with refused(OrderError, "pinned"):
            stream.synchronize()


def test_events_measure_only_what_was_waited_for(cupy: Any) -> None:
    start, stop = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    stop.record()
    with pytest.raises(RuntimeError, match="NotReady"):
        cupy.cuda.get_elapsed_time(start, stop)
    stop.synchronize()
    assert cupy.cuda.get_elapsed_time(start, stop) >= 0


def test_graph_does_what_was_captured(cupy: Any) -> None:
    x, k, stream = cupy.zeros(4, F), kernel(cupy, "x[c] += n;"), cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    step = I32(2)
    with stream:
        stream.begin_capture()
        assert stream.is_capturing()
        k((1,), (4,), (x, step))
        graph = stream.end_capture()
        step = I32(100)  # a graph keeps the numbers that it was captured with
        assert x.get().tolist() == [0] * 4
        for _ in range(3):
            graph.launch()
        assert x.get().tolist() == [6] * 4


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda cp, x, s: cp.empty(3),
        lambda cp, x, s: x.get(),
        lambda cp, x, s: x.set(np.zeros(4, F)),
        lambda cp, x, s: s.synchronize(),
        lambda cp, x, s: cp.cuda.Device().synchronize(),
        lambda cp, x, s: s.record().synchronize(),
        lambda cp, x, s: x.copy(),
    ],
)
def test_forbidden_while_a_graph_is_captured(cupy: Any, forbidden: Any) -> None:
    x, stream = cupy.zeros(4, F), cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    with stream:
        stream.begin_capture()
        with pytest.raises(CaptureError):
            forbidden(cupy, x, stream)
        stream.end_capture()


def test_default_stream_while_another_captures(cupy: Any) -> None:
    x, k, stream = cupy.zeros(4, F), kernel(cupy, "x[c] += n;"), cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    stream.begin_capture()
    with pytest.raises(CaptureError, match="default stream"):
        k((1,), (4,), (x, I32(1)))
    stream.end_capture()
    with pytest.raises(RuntimeError, match="legacy"):
        cupy.cuda.Stream.null.begin_capture()


def test_graph_of_freed_memory(cupy: Any) -> None:
    x, k, stream = cupy.zeros(4, F), kernel(cupy, "x[c] += n;"), cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    with stream:
        stream.begin_capture()
        k((1,), (4,), (x, I32(1)))
        graph = stream.end_capture()
        del x
        gc.collect()
        with pytest.raises(UseAfterFree):
            graph.launch()


def test_stand_in_is_taken_away_again() -> None:
    import sys

    before = {name for name in sys.modules if name.startswith("cupy")}
    with emulated_cupy() as cupy:
        import cupy as imported

        assert imported is cupy
        x = cupy.zeros(3, F)
        with emulated_cupy(Mode(checked=False)) as other:
            import cupy as inner

            assert inner is other
        import cupy as again

        assert again is cupy
        kernel(cupy, "x[c] = 1;")((1,), (3,), (x, I32(0)))
        assert x.get().tolist() == [1, 1, 1]
    assert {name for name in sys.modules if name.startswith("cupy")} == before
