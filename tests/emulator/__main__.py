"""Commands with the stand-in in CuPy's place: `python -m tests.emulator COMMAND`.

rlsbench ARGUMENTS      the command line of rlsbench run SCRIPT ARGUMENTS    a script verify [N ...]          the
conformance suite, and its main checks for n = 8, 32, 33, 90, 128, 256, with a table mutations [WORDS]       put
faults into the backend (those with one of the words in their name) and say what catches them registers
registers, spills and shared memory of each kernel on sm_80, sm_90 and sm_120 (needs NVRTC)
"""

from __future__ import annotations

import runpy
import sys
from collections import Counter

from tests.emulator import emulated_cupy, install, missing


def main(arguments: list[str]) -> int:
    """Run a command; its exit status."""
    if arguments[:1] != ["registers"] and missing():
        sys.exit(missing())
    match arguments:
        case ["rlsbench", *rest]:
            install()
            from rlsbench.cli import main as rlsbench

            rlsbench(rest)
        case ["run", script, *rest]:
            install()
            sys.argv = [script, *rest]
            runpy.run_path(script, run_name="__main__")
        case ["verify", *sizes]:
            return _verify([int(n) for n in sizes])
        case ["mutations", *words]:
            return _mutations(words)
        case ["first-failure"]:
            from tests.emulator.mutations import first_failure

            return first_failure()
        case ["registers"]:
            return _registers()
        case _:
            sys.exit(__doc__)
    return 0


def _verify(sizes: list[int]) -> int:
    from rlsbench.conformance import Validity, verify_backend
    from rlsbench_cupy import BACKEND
    from tests.emulator import matrix

    failed = 0
    table: dict[tuple[str, str], Counter[Validity]] = {}

    def count(column: str, outcome: object) -> None:
        nonlocal failed
        table.setdefault((outcome.configuration, column), Counter())[outcome.validity] += 1  # type: ignore[attr-defined]
        if outcome.validity is Validity.FAILED:  # type: ignore[attr-defined]
            failed += 1
            print(f"FAILED  {column}  {outcome.configuration}  {outcome.check}: {outcome.reason}", flush=True)  # type: ignore[attr-defined]

    with emulated_cupy():
        if not sizes:
            for outcome in verify_backend(BACKEND, "cuda:0"):
                count("suite", outcome)
        for n, outcome in matrix.check_sizes(matrix.all_subjects(BACKEND, "cuda:0"), sizes or matrix.SIZES):
            count(f"n = {n}", outcome)
    columns = list(dict.fromkeys(column for _, column in table))
    print("passed (not checked) |", " | ".join(columns))
    for configuration in dict.fromkeys(c for c, _ in table):
        cells = []
        for column in columns:
            c = table[configuration, column]
            cells.append(
                f"{c[Validity.PASSED]} ({c[Validity.NOT_CHECKED]})"
                + f" FAILED {c[Validity.FAILED]}" * bool(c[Validity.FAILED])
            )
        print(f"| {configuration} | " + " | ".join(cells) + " |")
    return 1 if failed else 0


def _mutations(words: list[str]) -> int:
    from tests.emulator import mutations

    missed = 0
    for heading, faults in (("kernels", mutations.KERNEL_FAULTS), ("host code", mutations.HOST_FAULTS)):
        chosen = [f for f in faults if not words or any(word in f.name for word in words)]
        print(f"| fault in the {heading} | file | caught by | what is said |\n| --- | --- | --- | --- |")
        for fault, caught in mutations.run_all(chosen, workers=2):
            check, reason = caught or ("NOTHING", "")
            missed += caught is None
            print(f"| {fault.name} | {fault.file} | {check} | {_short(reason)} |", flush=True)
    return 1 if missed else 0


def _short(reason: str) -> str:
    reason = reason.replace("|", "/")
    return reason if len(reason) < 160 else reason[:157] + "..."


def _registers() -> int:
    from tests.emulator import registers

    if registers.missing():
        sys.exit(registers.missing())
    print(
        "| kernel | of | registers on "
        + ", ".join(registers.ARCHITECTURES)
        + " | spilled | local | static shared, bytes |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for case in registers.cases():
        rows = [registers.usage(case.source, case.options, a) for a in registers.ARCHITECTURES]
        for same in zip(*rows, strict=True):
            numbers = ", ".join(str(u.registers) for u in same)
            spilled, stack = max(u.spilled for u in same), max(u.stack for u in same)
            print(
                f"| {same[0].kernel} | {case.name} | {numbers} | {spilled} | {stack} | {same[0].shared} |", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
