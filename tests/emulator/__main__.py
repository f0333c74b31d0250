"""Commands with the stand-in in CuPy's place: `python -m tests.emulator COMMAND`.

    rlsbench ARGUMENTS      the command line of rlsbench
    run SCRIPT ARGUMENTS    a script
    verify [N ...] [WORDS]  the conformance suite, and its main checks for n = 8, 32, 33, 90, 128,
                            256, as a table; with numbers only those n, with words such as
                            "float16 packed" only configurations of that name
    mutations [WORDS]       faults put into the backend, one at a time, and what detects each; with
                            words only some
    registers [N ...]       registers, spills and shared memory of each kernel on sm_80, sm_90 and
                            sm_120 (needs NVRTC); with numbers, for those n, packed

See README.md.
"""

from __future__ import annotations

import runpy
import sys
from collections import Counter

from rlsbench.cli import main as rlsbench
from rlsbench.conformance import CHECKS, Outcome, Validity, run_check
from tests.emulator import emulated_cupy, install, missing


def main(arguments: list[str]) -> int:
    """Run a command; its exit status."""
    if arguments[:1] != ["registers"] and missing():
        sys.exit(missing())
    match arguments:
        case ["rlsbench", *rest]:
            install()
            rlsbench(rest)
        case ["run", script, *rest]:
            install()
            sys.argv = [script, *rest]
            runpy.run_path(script, run_name="__main__")
        case ["verify", *rest]:
            return _verify(rest)
        case ["mutations", *words]:
            return _mutations(words)
        case ["first-failure"]:
            from tests.emulator.mutations import first_failure

            return first_failure()
        case ["registers", *sizes]:
            return _registers([int(n) for n in sizes])
        case _:
            sys.exit(__doc__)
    return 0


def _verify(arguments: list[str]) -> int:
    from rlsbench_cupy import BACKEND
    from tests.emulator import matrix

    sizes = [int(word) for word in arguments if word.isdecimal()]
    words = [word for word in arguments if not word.isdecimal()]
    table: dict[str, dict[str, Counter[Validity]]] = {}

    def count(column: str, outcome: Outcome) -> None:
        table.setdefault(outcome.configuration, {}).setdefault(column, Counter())[outcome.validity] += 1
        if outcome.validity is Validity.FAILED:
            print(f"FAILED  {column}  {outcome.configuration}  {outcome.check}: {outcome.reason}", flush=True)

    with emulated_cupy():
        found = [s for s in matrix.all_subjects(BACKEND, "cuda:0") if all(word in str(s) for word in words)]
        for subject in found:
            if not sizes:
                for name in CHECKS:
                    count("suite", run_check(name, subject))
            for n in sizes or matrix.SIZES:
                for _, outcome in matrix.check_sizes([subject], [n]):
                    count(f"n = {n}", outcome)
                print(f"{subject}, n = {n}: {_cell(table[str(subject)][f'n = {n}'])}", file=sys.stderr, flush=True)
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    print("| passed (not checked) | " + " | ".join(columns) + " |\n|" + " --- |" * (1 + len(columns)))
    for configuration, row in table.items():
        print(f"| {configuration} | " + " | ".join(_cell(row[column]) for column in columns) + " |")
    return any(c[Validity.FAILED] for row in table.values() for c in row.values())


def _cell(counts: Counter[Validity]) -> str:
    passed, skipped, failed = (counts[v] for v in (Validity.PASSED, Validity.NOT_CHECKED, Validity.FAILED))
    return f"{passed}" + f" ({skipped})" * bool(skipped) + f", FAILED {failed}" * bool(failed)


def _mutations(words: list[str]) -> int:
    from tests.emulator import mutations

    missed = 0
    of = {"kernels": mutations.KERNEL_FAULTS, "host code": mutations.HOST_FAULTS, "ranks": mutations.RANK_FAULTS}
    for heading, faults in of.items():
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


def _registers(sizes: list[int]) -> int:
    from tests.emulator import registers

    if registers.missing():
        sys.exit(registers.missing())
    print(
        "| kernel | of | registers on "
        + ", ".join(registers.ARCHITECTURES)
        + " | spilled | local | static shared, bytes |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for case in registers.cases(sizes, few=True) if sizes else registers.cases():
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
