"""The accuracy command measures what it says, and says so when a target is missed."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import accuracy, accuracy_losses, accuracy_maps, references
from experiments.accuracy_cases import ALPHAS, Grid, cases, exact_rows

TINY = Grid((3,), (1.0,), (0.0,))


@pytest.fixture(autouse=True)
def tiny_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "QUICK", TINY)


def run(tmp_path: Path, *flags: str) -> tuple[int, list[dict[str, object]]]:
    out = tmp_path / "accuracy.jsonl"
    status = accuracy.main(["--quick", "--no-peers", "--out", str(out), *flags])
    return status, [json.loads(line) for line in out.read_text().splitlines()]


def test_a_run_prints_the_targets_and_writes_json_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, lines = run(tmp_path, "--only", "forward", "--check")
    shown = capsys.readouterr().out
    assert status == 0
    assert lines[0]["kind"] == "environment"
    assert {"versions", "device", "revision"} <= set(lines[0])
    assert {line["function"] for line in lines[1:]} == {
        "entmax",
        "softmax",
        "sparsemax",
        "entmax15",
    }
    assert "absolute error, alpha in [1, 3]" in shown
    assert "MISSED" not in shown


def test_a_wrong_map_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = accuracy_maps._compiled["entmax"]
    wrong = {**accuracy_maps._compiled, "entmax": lambda x, a: right(x, a) * (1 + 1e-5)}
    monkeypatch.setattr(accuracy_maps, "_compiled", wrong)
    status, _ = run(tmp_path, "--only", "forward", "--check")
    assert status == 1
    assert capsys.readouterr().out.count("MISSED") == 3


def test_a_nan_is_the_worst_value_and_misses(capsys: pytest.CaptureFixture[str]) -> None:
    records = [
        {"kind": "forward", "subject": accuracy.LIBRARY, "function": "entmax", "alpha": 2.0}
        | {"n": 3, "error": error, "sum_error": 0.0}
        for error in (1.0, float("nan"), 0.0)
    ]
    assert np.isnan(accuracy.worst(records, accuracy.QUANTITIES[0], accuracy.LIBRARY)["error"])  # type: ignore[index] # there are records
    assert accuracy.missed(records) == ["absolute error, alpha in [1, 3]"]


def test_a_wrong_loss_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    alphas, right, of = accuracy_losses.LOSSES["entmax_loss"]
    broken = {"entmax_loss": ((1.5,), lambda x, y, a: right(x, y, a) - 1e-3, of)}
    monkeypatch.setattr(accuracy_losses, "LOSSES", broken)
    (record,) = accuracy_losses.losses(TINY._replace(scales=(100.0,)), [])
    assert record["error"] > 1e-6
    assert record["below_zero"] == pytest.approx(1e-3)
    assert record["past_margin"] == pytest.approx(1e-3)
    assert record["rows_past_margin"] > 0
    assert alphas == ALPHAS


@pytest.mark.parametrize(
    ("dtype", "got", "exact", "expected"),
    [
        (jnp.bfloat16, 1.0, 1.0, 0),
        (jnp.bfloat16, 1.0, 1.0039, 0),  # rounds to 1
        (jnp.bfloat16, 1.0078125, 1.0, 1),
        (jnp.bfloat16, 0.5, 0.50390625, 1),
        (jnp.float16, 1.0, 1.0 - 2**-11, 1),
        (jnp.float16, 2.0**-24, 0.0, 1),  # one subnormal
        (jnp.float16, np.inf, 1e9, 0),
        (jnp.bfloat16, 0.0, 2.0**-130, 2**-4),  # XLA flushes float32's subnormal numbers
    ],
)
def test_ulps(dtype: jnp.dtype, got: float, exact: float, expected: float) -> None:
    found = accuracy_maps.ulps(jnp.array([got], dtype), np.array([exact]))
    assert found == pytest.approx(expected)


def test_ulps_of_large_values_only() -> None:
    got = jnp.array([1.0, 0.0], jnp.bfloat16)
    exact = np.array([1.0, 1e-6])
    assert accuracy_maps.ulps(got, exact) > 100
    assert accuracy_maps.ulps(got, exact, above=2.0**-14) == 0


def test_inputs_are_float32_and_the_same_on_every_run() -> None:
    first, second = (list(cases(Grid((2, 10), (1.0,), (0.0, 1e4)))) for _ in range(2))
    assert [case.x.tolist() for case in first] == [case.x.tolist() for case in second]
    assert all(case.x.dtype == np.float32 for case in first)
    assert abs(float(first[1].x.mean()) - 1e4) < 10


@pytest.mark.slow
def test_derivative_hessian_and_low_precision_hold_on_small_rows() -> None:
    records = accuracy.measure(("alpha", "hessian", "low"), [], quick=True)
    assert {record["kind"] for record in records} == {"alpha", "hessian", "low"}
    assert accuracy.missed(records) == []


def test_the_reference_is_given_the_alpha_that_float32_has() -> None:
    (case,) = cases(TINY)
    exact = exact_rows(case.x, 1.01)
    np.testing.assert_array_equal(exact, exact_rows(case.x, float(np.float32(1.01))))
    unrounded = np.stack([references.solve(row, 1.01).p for row in case.x])
    assert np.abs(exact - unrounded).max() > 1e-12
