"""Documents, the store, and results as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from rlsbench import load_experiment, prepare
from rlsbench.errors import OutputError, ResultError
from rlsbench.results import (
    SCHEMA_VERSION,
    AttemptDocument,
    RunDocument,
    Store,
    attempt_document,
    configuration_hash,
    load_results,
    machine_id,
    machine_label,
    machine_record,
    parse_document,
    read_results,
    result_schema,
    run_document,
)
from rlsbench.results.machine import environment_record
from rlsbench.results.table import COLUMNS, counted, run_correlation, series_hash, software_hash
from tests.conftest import Refused

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def run(tiny: dict[str, Any]) -> RunDocument:
    """The document of a tiny run of three iterations."""
    training = prepare(load_experiment("smoke", overrides=tiny | {"training.iterations": 3}), "numpy-full")
    for _ in training.run():
        pass
    return run_document(training)


@pytest.fixture(scope="module")
def attempt(tiny: dict[str, Any]) -> AttemptDocument:
    """A run that was not made."""
    training = prepare(load_experiment("smoke", overrides=tiny), "numpy-full")
    return attempt_document(training.experiment, "elsewhere", training.options, "unavailable", "it is not here")


def test_documents_survive_the_way_to_disk_and_back(run: RunDocument, attempt: AttemptDocument, tmp_path: Path) -> None:
    store = Store(tmp_path / "a" / "b")
    paths = [store.add(run), store.add(attempt)]
    assert [parse_document(path.read_text()) for path in paths] == [run, attempt]
    assert {p.name for p in store.path.iterdir()} == {path.name for path in paths}
    found = store.read()
    assert found.problems == []
    assert found.runs == [run]
    assert found.attempts == [attempt]


def test_store_never_changes_a_file(run: RunDocument, tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.add(run)
    assert store.add(run) == path
    other = store.add(run.model_copy(update={"setup_seconds": 9.0}))
    assert other != path
    assert parse_document(path.read_text()) == run
    assert len(list(tmp_path.iterdir())) == 2


def test_store_where_no_folder_can_be(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "file").write_text("")
    with refused(OutputError, tmp_path / "file" / "store"):
        Store(tmp_path / "file" / "store")


def test_order_does_not_depend_on_that_of_files(run: RunDocument, tmp_path: Path) -> None:
    changed = [run.model_copy(update={"setup_seconds": float(i)}) for i in range(6)]
    for folder, documents in (("one", changed), ("two", changed[::-1])):
        (tmp_path / folder).mkdir()
        for number, document in enumerate(documents):
            (tmp_path / folder / f"{number}.json").write_text(document.to_json())
    one, two = (read_results([tmp_path / folder]).runs for folder in ("one", "two"))
    assert one == two
    assert read_results([tmp_path]).runs == one  # each once
    later = run.model_copy(update={"created": "2999-01-01T00:00:00Z"})
    (tmp_path / "one" / "0.json").write_text(later.to_json())
    assert read_results([tmp_path / "one"]).runs[-1] == later


INVALID: list[tuple[str, tuple[object, ...]]] = [
    ("", ("JSON",)),
    ('{"schema_version": 2, "kind": "run"', ("JSON",)),
    ('{"schema_version": 2, "seed": NaN}', ("JSON", "NaN")),
    ("[" * 100_000, ("JSON",)),
    ('{"name": "rlsbench"}', ("schema_version",)),
    ("[1, 2]", ("schema_version",)),
    ('{"schema_version": true}', ("schema_version",)),
    ('{"schema_version": 3}', ("schema_version", 3, SCHEMA_VERSION)),
    ('{"schema_version": 2, "kind": "walk"}', ("kind",)),
    ('{"schema_version": 2, "kind": "run"}', ("preset",)),
    ('{"schema_version": 1}', ("preset",)),
]


@pytest.mark.parametrize(("text", "named"), INVALID)
def test_an_invalid_document_is_reported_and_left_out(
    text: str, named: tuple[object, ...], run: RunDocument, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "good.json").write_text(run.to_json())
    (tmp_path / "bad.json").write_text(text)
    found = read_results([tmp_path])
    assert found.runs == [run]
    ((path, reason),) = found.skipped
    assert path == tmp_path / "bad.json"
    assert all(str(part) in reason for part in named), reason
    assert found.problems == [f"{path}: {reason}"]
    assert "\n" not in reason
    with refused(ResultError, "bad.json", *named):
        load_results(tmp_path)


def test_json_lines_hold_a_sweep_in_one_file(run: RunDocument, attempt: AttemptDocument, tmp_path: Path) -> None:
    both = tmp_path / "sweep.jsonl"
    both.write_text(run.to_line() + "\n" + attempt.to_line())
    found = read_results([tmp_path])
    assert found.problems == []
    assert dict(found.documents) == {
        Path(f"{both}:1"): run,
        Path(f"{both}:3"): attempt,
    }
    (tmp_path / "run.json").write_text(run.to_json())
    assert read_results([tmp_path / "run.json", both]).runs == [run], "the same document counts once"


def test_bad_lines_are_reported_one_by_one(run: RunDocument, tmp_path: Path) -> None:
    bad = [text.encode() for text, _ in INVALID if text] + [b"\xff\xfe\x00"]
    file = tmp_path / "sweep.jsonl"
    file.write_bytes(b"\n".join([bad[0], run.to_line().encode(), *bad[1:]]))
    found = read_results([file])
    assert found.runs == [run]
    assert sorted(int(str(path).rpartition(":")[2]) for path, _ in found.skipped) == [1, *range(4, len(bad) + 3)]
    for path, _ in found.skipped:
        assert str(path).startswith(f"{file}:")


def test_no_such_folder(tmp_path: Path, refused: Refused) -> None:
    with refused(ResultError, tmp_path / "nowhere"):
        read_results([tmp_path / "nowhere"])


def test_the_directory_of_a_run_holds_one_result(run: RunDocument, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(run.to_json())
    (tmp_path / "machine.json").write_text("{}")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    found = read_results([tmp_path])
    assert found.runs == [run]
    assert [path for path, _ in found.skipped] == [tmp_path / "binary.json"]


def test_documents_of_the_first_schema_load() -> None:
    found = read_results([ROOT / "reports" / "reproduction.jsonl"])
    assert found.problems == []
    first = [run for run in found.runs if run.created is None]
    assert len(first) == 8
    for r in first:
        assert r.schema_version == SCHEMA_VERSION
        assert r.validity == "not checked"
    by_seed = {r.seed: r for r in first if r.preset == "tutorial" and len(r.iterations) == 100}
    assert set(by_seed) == {1, 2, 3}
    tutorial = load_experiment("tutorial", overrides={"training.iterations": 100})
    assert by_seed[1].configuration_hash == configuration_hash(tutorial)
    assert len({series_hash(r) for r in by_seed.values()}) == 1
    assert len({series_hash(r) for r in first}) >= 3


def test_documents_conform_to_the_json_schema(run: RunDocument, attempt: AttemptDocument) -> None:
    schema = json.loads(json.dumps(result_schema()))
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    validator = Draft202012Validator(schema)
    committed = read_results(sorted((ROOT / "reports").glob("*.jsonl")))
    assert committed.problems == []
    assert len(committed.documents) > 40
    for document in (run, attempt, *(document for _, document in committed.documents)):
        validator.validate(json.loads(document.to_line()))
    for wrong in ({"neurons": "many"}, {"kind": "walk"}, {"validity": "perhaps"}, {"iterations": [{}]}):
        assert not validator.is_valid(json.loads(run.to_json()) | wrong)


def test_a_table_has_a_row_for_each_document(run: RunDocument, attempt: AttemptDocument, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add(run)
    store.add(attempt)
    table = load_results(tmp_path)
    assert tuple(table.columns) == COLUMNS
    assert sorted(table["outcome"]) == ["completed", "unavailable"]
    row = table[table["kind"] == "run"].iloc[0]
    seconds = sorted(i.seconds for i in run.iterations[1:])
    assert row["seconds_per_iteration"] == pytest.approx(sum(seconds) / 2)
    assert seconds[0] <= row["seconds_lower_quartile"] <= row["seconds_upper_quartile"] <= seconds[1]
    assert row["firing_rate_hz"] == run.iterations[-1].firing_rate_hz
    assert row["machine"] == machine_id(machine_record())
    assert row["neurons"] == 70
    assert row["validity"] == "not checked"
    assert table[table["kind"] == "attempt"].iloc[0]["reason"] == "it is not here"


def test_a_setting_that_varies_has_a_column(run: RunDocument, tmp_path: Path) -> None:
    def document(**changes: Any) -> RunDocument:
        tables = {section: dict(value) for section, value in run.configuration.items() if isinstance(value, dict)}
        for key, value in changes.items():
            section, name = key.split("__")
            tables[section][name] = value
        return run.model_copy(update={"configuration": run.configuration | tables})

    changes = {
        "learning__lambda_plastic": 0.01,
        "synapse__tau_plas_ms": [50.0, 150.0],
        "training__task_order": "random",
    }
    other = document(**changes, training__seed=9, checkpoints__every=5, numerics__threads=1)
    old = document()
    del old.configuration["learning"]["lambda_plastic"]  # as before a setting was added
    for name, content in (("a", run), ("b", other), ("c", old)):
        (tmp_path / f"{name}.json").write_text(content.to_json())
    files = [tmp_path / f"{name}.json" for name in "abc"]
    table = load_results(files[:2], str(files[2])).set_index("file")
    added = [*table.columns[len(COLUMNS) - 1 :]]
    assert added == ["synapse.tau_plas_ms", "learning.lambda_plastic", "training.task_order"]
    assert table.loc[str(files[1]), added].tolist() == ["[50.0, 150.0]", 0.01, "random"]
    assert table["learning.lambda_plastic"].isna().tolist().count(True) == 1
    assert tuple(load_results([files[0]]).columns) == COLUMNS


def test_only_iterations_after_the_warm_up_count(run: RunDocument) -> None:
    assert counted(run) == [1, 2]
    assert counted(run.model_copy(update={"iterations": run.iterations[:1]})) == [0]
    assert counted(run.model_copy(update={"iterations": []})) == []
    assert run_correlation(run) is None
    many = [run.iterations[0].model_copy(update={"correlation": c / 10}) for c in range(12)]
    assert run_correlation(run.model_copy(update={"iterations": many})) == pytest.approx(0.65)


def test_series_and_software_keep_apart_what_must_not_be_pooled(run: RunDocument, tiny: dict[str, Any]) -> None:
    def with_(**overrides: Any) -> RunDocument:
        e = load_experiment("smoke", overrides=tiny | {key.replace("__", "."): v for key, v in overrides.items()})
        return run.model_copy(update={"configuration": e.model_dump(mode="json")})

    for same in (
        with_(network__neurons=90),
        with_(training__seed=5),
        with_(training__iterations=50),
        with_(numerics__storage="packed"),
        with_(description="another"),
    ):
        assert series_hash(same) == series_hash(run)
    for other in (with_(network__K=9), with_(noise__kind="voltage", noise__sigma=0.3), with_(learning__mu=1.0)):
        assert series_hash(other) != series_hash(run)
    assert software_hash(run.model_copy(update={"commit": "0" * 40})) != software_hash(run)
    assert software_hash(run.model_copy(update={"versions": {"rlsbench": "9"}})) != software_hash(run)
    assert software_hash(run.model_copy(update={"created": None})) == software_hash(run)


def test_a_machine_is_known_by_what_lasts() -> None:
    machine = machine_record()
    assert "host" not in machine
    same = machine | {"thread_pools": [], "system": "Linux 99", "frequency_governor": "powersave"}
    assert machine_id(same) == machine_id(machine)
    assert machine_id(machine | {"usable_threads": 999}) != machine_id(machine)
    assert machine_id(machine | {"gpus": ["GPU"]}) != machine_id(machine)
    assert machine_id({key: value for key, value in machine.items() if key != "gpus"}) == machine_id(machine)
    label = machine_label({"cpu": "Intel(R) Xeon(R) CPU @ 2.00GHz", "usable_threads": 4, "memory_bytes": 2**34})
    assert label == "Intel Xeon, 4 threads, 16 GiB"
    assert machine_label({}) == "unknown processor"
    assert machine_label({"cpu": "X", "gpus": ["A", "B", "A"]}) == "X, 2 × A, B"
    assert machine_label({"cpu": "X", "gpus": 3}) == "X"


def test_a_host_is_named_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLSBENCH_HOST_NAME", "node7")
    assert machine_record()["host"] == "node7"
    assert machine_label(machine_record()).startswith("node7, ")


def test_the_environment_holds_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "cache")
    monkeypatch.setenv("OMP_PLACES", "/home/someone")
    found = environment_record()
    assert found["OMP_NUM_THREADS"] == "3"
    assert found["OPENBLAS_CORETYPE"] == "Zen"
    assert not {"NUMBA_CACHE_DIR", "OMP_PLACES"} & set(found)


def test_hash_of_a_configuration_does_not_depend_on_where_files_lie(tiny: dict[str, Any]) -> None:
    def of(file: str, **more: Any) -> str:
        overrides = {"recording.files": [file], "targets.kind": "recording", "noise.kind": "voltage"}
        return configuration_hash(load_experiment("smoke", overrides=tiny | overrides | {"noise.sigma": 0.5} | more))

    assert of("/home/one/rates.npy") == of("rates.npy")
    assert of("rates.npy") != of("others.npy")
    assert of("rates.npy", **{"training.seed": 2}) != of("rates.npy")


@pytest.mark.parametrize(("key", "default", "other"), [("target_mean", "fixed", "neuron"), ("external_gain", 0.02, 1)])
def test_hashes_from_before_a_setting_was_added_stay_valid(key: str, default: Any, other: Any) -> None:
    before = configuration_hash(load_experiment("smoke"))
    now = [configuration_hash(load_experiment("smoke", overrides={f"learning.{key}": v})) for v in (default, other)]
    assert (now[0] == before, now[1] == before) == (True, False)
