"""What results tell of a network on several ranks: exchange, memory, nodes and energy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsbench import Training, load_experiment, prepare
from rlsbench.conformance.threaded_ranks import on_ranks
from rlsbench.monitor import Resources, Unreadable, not_read
from rlsbench.ranks import Communicator
from rlsbench.results import RankRecord, RunDocument, parse_document, rank_records, results_table, run_document
from tests.conftest import TINY, usable

pytestmark = pytest.mark.xdist_group("numba float32")  # with the other tests of these kernels

SMALL = TINY | {"network.neurons": 1100, "training.window_ms": 4.0, "time.train_duration_ms": 20.0}


def trained(ranks: Communicator | None = None, backend: str = "numba") -> Training:
    e = load_experiment("smoke", overrides=SMALL | {"numerics.threads": 1})
    training = prepare(e, usable(backend), **({} if ranks is None else {"ranks": ranks}))
    list(training.run(2))
    return training


def described(training: Training) -> RunDocument:
    return run_document(training).model_copy(update={"rank_records": rank_records(training)})


def test_ranks_tell_of_their_exchange_and_others_of_none() -> None:
    alone = described(trained())  # and compiles kernels, which others would wait for

    def of_rank(rank: Communicator) -> RunDocument:
        rank.node, rank.nodes = rank.rank // 2, 2  # of three ranks, two on one node
        return described(trained(rank))

    documents = on_ranks(3, of_rank)
    records = documents[0].rank_records
    assert all(d.rank_records == records for d in documents)
    assert [(r.node, r.neurons, r.threads) for r in records] == [(1, 256, 1), (1, 512, 1), (2, 332, 1)]
    for document, record in zip(documents, records, strict=True):
        assert record.exchange_seconds == document.iterations[1].exchange_seconds
        for i in document.iterations:
            assert i.exchange_seconds is not None
            assert 0 < i.exchange_seconds < i.seconds - i.rls_seconds
    assert (alone.rank_records, alone.nodes) == ([], 1)
    assert [i.exchange_seconds for i in alone.iterations] == [None, None]
    table = results_table([(Path("x.json"), d) for d in (documents[0], alone)])
    assert table.nodes.tolist() == [2, 1]
    assert table.exchange_seconds.tolist()[0] == records[0].exchange_seconds
    assert table.exchange_seconds.isna().tolist() == [False, True]


def test_the_exchange_is_in_no_learning_curve() -> None:
    (training,) = on_ranks(1, trained)
    assert training.iterations[0].exchange_seconds is not None
    assert "exchange_seconds" not in training.learning_curve().columns


def test_memory_of_a_rank_of_a_node_and_of_all() -> None:
    records = [
        RankRecord(node=node, neurons=1, threads=1, peak_memory_bytes=peak, exchange_seconds=None)
        for node, peak in ((1, 5), (1, 4), (2, 7))
    ]
    run = described(trained(backend="numpy-full"))
    several = run.model_copy(update={"rank_records": records, "ranks": 3, "nodes": 2})
    table = results_table([(Path("x.json"), d) for d in (run, several)])
    names = ["rank_memory_bytes", "node_memory_bytes", "all_memory_bytes"]
    assert table.loc[1, names].tolist() == [7, 9, 16]
    assert table.loc[0, names].tolist() == [run.peak_memory_bytes] * 3


def test_documents_of_earlier_versions_are_read() -> None:
    run = run_document(trained(backend="numpy-full"))
    content = json.loads(run.to_json())
    for name in ("nodes", "rank_records"):
        del content[name]
    for iteration in content["iterations"]:
        del iteration["exchange_seconds"]
    assert parse_document(json.dumps(content)) == run


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2**40), st.none() | st.floats(0, 1e9)), min_size=1))
def test_resources_of_ranks_are_summed_and_energy_once_a_node(ranks: list[tuple[int, int, float | None]]) -> None:
    parts, energies = [], {}
    for node, resident, joules in sorted(ranks, key=lambda rank: rank[0]):
        leads = node not in energies
        energies.setdefault(node, joules)
        why = {} if joules is not None else {"cpu_energy_j": f"locked on {node}"}
        used = Resources(3, 1.5, 50.0, resident, joules if leads else None, None, None, None, why)
        parts.append((leads, used))
    joined = Resources.of_ranks(parts)
    assert joined.peak_resident_bytes == sum(resident for _, resident, _ in ranks)
    assert joined.cpu_percent == 50.0 * len(ranks)
    assert (joined.samples, joined.seconds) == (3, 1.5)
    known = [joules for joules in energies.values() if joules is not None]
    if len(known) == len(energies):
        assert joined.cpu_energy_j == pytest.approx(sum(known))
        assert not joined.unreadable
    else:
        assert joined.cpu_energy_j is None
        assert "locked" in joined.unreadable["cpu_energy_j"]
    first = parts[0][1]
    assert Resources.of_ranks(parts[:1]) == replace(first, unreadable=dict(first.unreadable))


def test_a_rank_that_is_not_the_first_of_its_node_reads_no_energy() -> None:
    with pytest.raises(Unreadable, match="first rank"):
        not_read()
