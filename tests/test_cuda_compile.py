"""Kernels compile for three GPU generations without spills or local memory."""

from __future__ import annotations

import os

import pytest

from tests.emulator import registers

if registers.missing():
    if os.environ.get("RLSBENCH_REQUIRE_GPU_CHECKS"):
        pytest.fail(str(registers.missing()), pytrace=False)
    pytest.skip(str(registers.missing()), allow_module_level=True)

# Registers of a thread, at most: of the 65,536 of a multiprocessor, 64 let 1,024 threads run at
# once and 40 1,638.
HEAVY = {"deliver", "draw_distinct", "fold", "learn_event", "learn_given", "learn_plain", "replayed_step", "step"}
CEILINGS = {True: 64, False: 40}
STATIC_SHARED = 48 * 1024


FIRST, *OTHERS = registers.ARCHITECTURES


@pytest.mark.parametrize(
    "architecture", [FIRST, *(pytest.param(other, marks=pytest.mark.combinations) for other in OTHERS)]
)
@pytest.mark.parametrize("case", registers.cases(sizes=(90,), few=True), ids=lambda case: f"{case.name} {case.form}")
def test_no_spills_and_few_registers(case: registers.Case, architecture: str) -> None:
    found = registers.usage(case.source, case.options, architecture)
    assert found
    for usage in found:
        assert usage.spilled == 0, usage
        assert usage.stack == 0, usage
        assert usage.registers <= CEILINGS[usage.kernel in HEAVY], usage
        assert usage.shared <= STATIC_SHARED, usage


@pytest.mark.emulated
@pytest.mark.parametrize("architecture", registers.ARCHITECTURES)
@pytest.mark.parametrize("n", [8, 32, 33, 90, 128, 256, 1024])
def test_other_sizes(n: int, architecture: str) -> None:
    for case in registers.cases(sizes=(n,)):
        test_no_spills_and_few_registers(case, architecture)


def test_what_does_not_compile_is_told() -> None:
    with pytest.raises(registers.CompileError, match="identifier"):
        registers.usage('extern "C" __global__ void k(float *x) { x[0] = y; }', (), "sm_80")


def test_spills_and_local_memory_would_be_seen() -> None:
    many = (
        'extern "C" __global__ void __launch_bounds__(1024, 2) k(float *x) { float v[64];\n#pragma unroll\n'
        "for (int i = 0; i < 64; ++i) v[i] = x[i * 1024 + threadIdx.x]; __syncthreads();\n#pragma unroll\n"
        "for (int i = 0; i < 64; ++i) for (int j = 0; j < 64; ++j) v[i] += v[i] * v[j] * v[(i + 7) % 64];\n"
        "__syncthreads();\n"
        "#pragma unroll\nfor (int i = 0; i < 64; ++i) x[i * 1024 + threadIdx.x] = v[i]; }"
    )
    (usage,) = registers.usage(many, ("-std=c++17",), "sm_80")
    assert usage.spilled > 0
    local = (
        'extern "C" __global__ void k(float *x, int n) { float v[99]; for (int i = 0; i < 99; ++i) v[i] = x[i];'
        "x[0] = v[n]; }"
    )
    (usage,) = registers.usage(local, (), "sm_80")
    assert usage.stack > 0


def test_shared_memory_is_what_the_emulator_counts() -> None:
    from tests.emulator.native import Mode, Module

    source = "".join(
        f'extern "C" __global__ void {name}(float *x) {{ __shared__ {array}; s[threadIdx.x] = x[0]; __syncthreads(); '
        "x[1] = s[1]; }\n"
        for name, array in (("a", "float s[100]"), ("b", "double s[30]"))
    )
    module = Module(source, (), Mode())
    assert (
        {u.kernel: u.shared for u in registers.usage(source, (), "sm_80")}
        == {name: module.kernel(name).static_bytes for name in ("a", "b")}
        == {"a": 400, "b": 240}
    )
