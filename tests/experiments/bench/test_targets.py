"""The speed command: fair turns, ratios round by round, marked misses, and peers called rightly."""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import peers, references
from experiments.bench import targets
from experiments.bench.contenders import LIBRARY, REFERENCE, contenders, residual_bytes
from experiments.cli import main as command_line
from experiments.timing import BUDGET_SECONDS, Timing, interleaved, ratios


class FakeClock:
    """A clock that only programs move, and the order in which they ran."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def __call__(self) -> float:
        return self.now

    def program(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.now += seconds
            self.ran.append(name)

        return run


def test_every_program_takes_its_turn_in_every_round() -> None:
    clock = FakeClock()
    programs = {name: clock.program(name, 0.01) for name in "abc"}
    timings = interleaved(programs, rounds=8, clock=clock)
    assert all(timing.rounds == list(range(8)) for timing in timings.values())
    turns = clock.ran[6:]  # after two calls each to see how long they take
    rounds = [turns[i : i + 3] for i in range(0, len(turns), 3)]
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len({tuple(order) for order in rounds}) > 1, "the order is drawn anew"


def test_short_programs_run_several_times_a_round_and_slow_ones_in_fewer_rounds() -> None:
    clock = FakeClock()
    programs = {
        "short": clock.program("short", 0.0005),
        "slow": clock.program("slow", BUDGET_SECONDS / 2.5),
        "endless": clock.program("endless", 2 * BUDGET_SECONDS),
    }
    timings = interleaved(programs, rounds=5, clock=clock)
    assert clock.ran.count("short") == 2 + 5 * 8
    assert timings["short"].seconds == pytest.approx([0.0005] * 5)
    assert timings["slow"].rounds == [0, 1]
    assert timings["endless"].rounds == [0]
    assert timings["endless"].seconds == pytest.approx([2 * BUDGET_SECONDS])


def test_ratios_are_taken_round_by_round() -> None:
    """A round in which the machine is ten times slower leaves the ratios as they are."""
    reference = Timing([1.0, 10.0, 1.0], [0, 1, 2])
    assert ratios(Timing([2.0, 20.0], [0, 1]), reference) == [2.0, 2.0]


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> list[dict[str, object]]:
    monkeypatch.setattr(targets, "SHAPES", ((4, 8), (2, 300)))
    out = tmp_path / "bench.jsonl"
    assert command_line(["bench", "--no-peers", "--repeat", "2", "--out", str(out), *flags]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_a_run_names_what_it_was_measured_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run(tmp_path, monkeypatch, "--filter", "sparsemax")
    assert len(lines) == 2 * 2 * 2 * 2  # names, shapes, scales, modes
    assert {line["name"] for line in lines} == {REFERENCE, "sparsemax"}
    for line in lines:
        assert {"shape", "scale", "mode", "ratio", "rounds", "compile_seconds"} <= set(line)
        assert {"device", "versions", "revision", "processor", "cores"} <= set(line)
    shown = capsys.readouterr().out
    assert "forward + backward" in shown
    assert "4x8 *1" in shown


def test_the_reference_is_its_own_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run(tmp_path, monkeypatch, "--quick", "--filter", REFERENCE)
    assert {line["ratio"] for line in lines} == {1.0}


def test_a_filter_that_finds_nothing_says_what_there_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command_line(["bench", "--no-peers", "--filter", "sparsemin"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "'entmax15'" in message


def test_misses_are_marked() -> None:
    common = {
        "mode": "forward",
        "shape": {"rows": 4, "classes": 8},
        "scale": 1.0,
        "milliseconds": 1.0,
    }
    records = [
        {"name": REFERENCE, "target": None, "ratio": 1.0} | common,
        {"name": "fast", "target": 3.0, "ratio": 2.99} | common,
        {"name": "slow", "target": 3.0, "ratio": 3.01} | common,
        {"name": "broken", "target": 3.0, "ratio": float("nan")} | common,
        {"name": "peer", "target": None, "ratio": 90.0} | common,
    ]
    shown = targets.table(records, "forward")
    assert [targets.missed(record) for record in records] == [False, False, True, True, False]
    assert "!3.01" in shown
    assert "!2.99" not in shown
    assert "2 of the ratios miss" in shown


def test_residuals_are_counted() -> None:
    x = np.ones((4, 1000), np.float32)
    kept = residual_bytes(LIBRARY[0], x)
    # jax.nn.softmax keeps its output and a few numbers a row.
    assert kept == pytest.approx(x.nbytes, rel=0.02)
    wasteful = LIBRARY[0]._replace(call=lambda x, _: jax.numpy.exp(jax.numpy.sin(x)))
    assert residual_bytes(wasteful, x) == 2 * x.nbytes


@pytest.mark.parametrize("peer", peers.installed(), ids=lambda peer: peer.name)
def test_peers_compute_what_the_table_says(peer: peers.Peer, rng: np.random.Generator) -> None:
    x = rng.normal(size=(5, 7)).astype(np.float32)
    alpha = peer.alphas[0] if peer.alphas else 1.5
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        got = peers.probabilities(peer, x, alpha)
    exact = np.stack([references.entmax(row, alpha) for row in x])
    np.testing.assert_allclose(got, exact, atol=1e-3)


def test_the_reference_is_always_chosen() -> None:
    names = [c.name for c in targets.choose(contenders(with_peers=False), ["entmax15"])]
    assert names == [REFERENCE, "entmax15"]
