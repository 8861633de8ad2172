"""The benchmarks run, and reject the figures of a client that loses or changes text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import report
from tests.benchmarks.figures import MEASUREMENTS, Figures, verdicts
from tests.benchmarks.measure import GROUPS, QUICK, Bench
from tests.benchmarks.processes import Server, checked
from tests.benchmarks.server import Script
from tests.benchmarks.venvs import Unavailable

TINY = QUICK.__class__(
    rounds=1,
    fresh=1,
    requests=2,
    firsts=2,
    chunks=50,
    paced=3,
    many=5,
    tokens=1,
    memory_rounds=1,
    prompts=4,
    streams=4,
    crowd=4,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    pythons = {"ours": Path(sys.executable), "floor": Path(sys.executable)}
    with Server(tmp_path) as server:
        yield Bench(server.url, pythons, tmp_path, Path(__file__).parents[1], TINY)


def test_every_warm_row_has_a_figure_for_each_client(bench: Bench) -> None:
    GROUPS["warm"](bench)
    assert bench.figures.missing == {}
    assert {row: set(clients) for row, clients in bench.figures.values.items()} == {
        measurement.key: {"ours", "ours_key", "floor"}
        for measurement in MEASUREMENTS
        if measurement.group == "warm"
    }
    assert all(
        value > 0
        for clients in bench.figures.values.values()
        for rounds in clients.values()
        for value in rounds.values()
    )


def test_calls_per_request_and_chunk_are_within_their_bounds(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Spans are looked for only where a program, or another test, has imported OpenTelemetry.
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    GROUPS["calls"](bench)
    assert bench.figures.missing == {}
    results = {
        (v.measurement.key, v.target.ours): (v.result, v.met) for v in verdicts(bench.figures)
    }
    assert len(results) == 7
    assert {key: result for key, result in results.items() if not result[1]} == {}


def test_llm_answers_with_an_own_endpoint_a_key_and_its_own_plugin(bench: Bench) -> None:
    GROUPS["cli"](bench)
    assert bench.figures.missing == {}
    assert set(bench.figures.values["cli"]) == {"ours", "ours_key", "openai"}


def test_a_batch_is_compared_with_a_plain_loop(bench: Bench) -> None:
    bench.pythons["openai"] = Path(sys.executable)
    GROUPS["batch"](bench)
    assert bench.figures.missing == {}
    figures = bench.figures.values["batch"]
    assert {name for name, rounds in figures.items() if rounds[0] > 0} == {"ours", "openai"}


def test_an_answer_that_differs_from_what_was_sent_is_rejected(bench: Bench) -> None:
    client = bench.client("floor")
    try:
        result: dict[str, Any] = client.ask("streams", Script("burst", 7))
        for sent, times in ((Script("burst", 8), 1), (Script("whole"), 1), (Script("burst", 7), 2)):
            with pytest.raises(Unavailable, match="sent, but 1 x 7:"):
                checked(json.dumps(result), sent, times)
        with pytest.raises(Unavailable, match=r"2 x 7:.* sent, but 1 x 7:"):
            client.ask("streams", Script("burst", 7), times=2)
    finally:
        client.close()


def test_a_client_that_cannot_run_is_missing_with_the_reason(bench: Bench) -> None:
    bench.pythons["unknown"] = bench.pythons.pop("ours")
    GROUPS["cold"](bench)
    assert set(bench.figures.values["cold"]) == {"ours_key", "floor"}
    assert "No module named 'clients.unknown'" in bench.figures.missing["cold"]["unknown"]


def test_targets_apply_to_the_median_of_the_ratios() -> None:
    figures = Figures()
    for number, (ours, theirs) in enumerate([(1.0, 10.0), (4.0, 20.0), (30.0, 30.0)]):
        figures.add("whole", "ours", number, ours)
        figures.add("whole", "openai", number, theirs)
    figures.miss("whole", "g4f", "no wheel")
    by_peer = {v.target.peer: v for v in verdicts(figures) if v.target.ours == "ours"}
    assert (by_peer["openai"].result, by_peer["openai"].met) == (0.2, False)
    assert (by_peer["g4f"].met, by_peer["g4f"].reason) == (None, "no wheel")
    system, versions = report.machine(), {"openai": {"openai": "1.2.3"}}
    text = report.as_markdown(figures, system, versions)
    assert "openai 1.2.3" in text
    assert "| llm-g4f, own endpoint | 4 µs | openai | 20 µs | 0.2 | ≤ 0.17 | no |" in text
    assert "not measured: no wheel" in text
    data = json.loads(json.dumps(report.as_json(figures, system, versions)))
    assert data["rows"]["whole"]["medians"] == {"ours": 4.0, "openai": 20.0}
    assert data["targets"][0] == {
        "row": "whole",
        "ours": "ours",
        "against": "openai",
        "result": 0.2,
        "target": "<= 0.17",
        "met": False,
    }
