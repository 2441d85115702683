"""The figures of a run against computations of their own, on records written by hand."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments.engine.differences import SURVIVORS
from experiments.engine.results import summarise
from experiments.engine.summary import sentences
from tests.experiments.engine import synthetic
from tests.experiments.engine.synthetic import CONFIG, SEEDS, outcome

Record = dict[str, Any]


def block(scores: Sequence[float | None], **ending: Any) -> list[Record]:
    """Tests with this score for each seed, in one metric of each direction, and an outcome."""
    tests: list[Record] = [
        {
            "kind": "test",
            "seed": seed,
            "metrics": {"loss": s, "gain": None if s is None else -s, "size": s},
        }
        for seed, s in zip(SEEDS, scores, strict=False)
    ]
    return [*tests, outcome(**ending)]


def figures(blocks: Mapping[str, Sequence[Record]], **config: Any) -> Record:
    names = [name for name in blocks if "/" not in name and name != "speed"]
    metrics = {"loss": "lower", "gain": "higher", "size": "neither"}
    return summarise({**CONFIG, "variants": names, "metrics": metrics, **config}, blocks)


def by_name(results: Record) -> dict[str, Record]:
    return {c["name"]: c for c in results["contenders"]}


def test_means_errors_and_intervals_are_those_of_scipy() -> None:
    scores = [0.3, 0.5, 0.4, 0.7]
    found = by_name(figures({"a": block(scores)}))["a"]["metrics"]["loss"]
    low, high = stats.t.interval(0.95, 3, np.mean(scores), stats.sem(scores))
    assert found["estimate"] == pytest.approx(np.mean(scores))
    assert found["standard_error"] == pytest.approx(stats.sem(scores))
    assert (found["lower"], found["upper"]) == pytest.approx((low, high))
    assert (found["count"], found["missing"]) == (4, [])


def test_differences_are_paired_and_simultaneous() -> None:
    base, other, third = [1.0, 2.0, 3.0, 4.0], [1.1, 2.3, 3.2, 4.2], [0.0, 0.0, 0.0, 1.0]
    results = figures({"a": block(base), "b": block(other), "c": block(third)})
    assert results["comparisons"] == 2
    found = by_name(results)["b"]["differences"]["loss"]
    paired = np.subtract(other, base)
    low, high = stats.t.interval(1 - 0.05 / 2, 3, paired.mean(), stats.sem(paired))
    assert (found["lower"], found["upper"]) == pytest.approx((low, high))
    assert found["seeds"] == list(SEEDS)
    assert by_name(results)["a"]["differences"] == {}


@pytest.mark.parametrize(
    ("other", "verdicts"),
    [
        ([1.2, 2.21, 3.2, 4.2], ("worse", "worse", "more")),
        ([0.8, 1.81, 2.8, 3.8], ("better", "better", "less")),
        ([0.8, 2.2, 2.8, 4.1], ("no difference shown",) * 3),
        # The same by float32: a difference of rounding, as steady as it may be.
        ([x * (1 + 2e-7) for x in (1.0, 2.0, 3.0, 4.0)], ("no difference shown",) * 3),
    ],
)
def test_a_verdict_needs_an_interval_without_zero(
    other: list[float], verdicts: tuple[str, ...]
) -> None:
    results = figures({"a": block([1.0, 2.0, 3.0, 4.0]), "b": block(other)})
    found = by_name(results)["b"]["differences"]
    assert tuple(found[m]["verdict"] for m in ("loss", "gain", "size")) == verdicts
    text = " ".join(sentences(results))
    assert ("`b` is better" in text) == ("better" in verdicts)
    assert ("`b` is worse" in text) == ("worse" in verdicts)


def test_two_lost_seeds_leave_an_interval_and_one_pair_leaves_none() -> None:
    one = figures({"a": block([1.0, 2.0, 3.0, 4.0]), "b": block([9.0, None, None, None])})
    found = by_name(one)["b"]["differences"]["loss"]
    assert (found["lower"], found["verdict"]) == (None, "no difference shown")
    none = figures({"a": block([1.0, 2.0, 3.0, 4.0]), "b": block([None] * 4)})
    assert by_name(none)["b"]["differences"] == {}
    assert by_name(none)["b"]["metrics"]["loss"] is None
    assert none["comparisons"] == 0


def test_survivors_win_nothing_and_may_lose() -> None:
    base = [1.0, 2.0, 3.0, 4.0]
    better, worse = [0.5, None, 2.51, 3.5], [1.5, None, 3.51, 4.5]
    results = figures(
        {
            "a": block(base),
            "b": block(better, status="diverged", why="lost"),
            "c": block(worse, status="diverged", why="lost"),
        }
    )
    found = by_name(results)
    assert found["b"]["differences"]["loss"]["verdict"] == SURVIVORS
    assert found["b"]["differences"]["loss"]["seeds"] == [3, 5, 6]
    assert found["c"]["differences"]["loss"]["verdict"] == "worse"
    # Without a direction, either sign would be a claim.
    assert found["c"]["differences"]["size"]["verdict"] == SURVIVORS
    assert found["b"]["lost"] == [4]
    text = " ".join(sentences(results))
    assert "better" not in text.replace("none is better", "")
    assert "none is better; `c` is worse; `b`: only a difference of the survivors." in text
    assert "leave out the lost seeds (4)" in text
    assert "over the seeds 3, 5, 6" in text


def test_what_the_reference_lost_counts_against_nobody() -> None:
    results = figures(
        {
            "a": block([1.0, 2.0, None, 4.0]),
            "b": block([1.5, 2.51, 3.0, 4.5]),
            "c": block([0.5, 1.51, 3.0, 3.5]),
        }
    )
    found = by_name(results)
    assert found["b"]["differences"]["loss"]["verdict"] == SURVIVORS
    assert found["c"]["differences"]["loss"]["verdict"] == "better"
    assert found["c"]["differences"]["loss"]["reference_lost"] == [5]


def test_a_seed_that_was_lost_has_no_figures_even_where_its_last_state_has() -> None:
    scores = [1.0, 2.0, 3.0, 4.0]
    ending = {"status": "diverged", "why": "lost", "lost": [-1, -1, 17, -1]}
    found = by_name(figures({"a": block(scores), "b": block(scores, **ending)}))["b"]
    assert found["lost"] == [5]
    assert found["metrics"]["loss"]["estimate"] == pytest.approx((1 + 2 + 4) / 3)
    assert found["metrics"]["loss"]["missing"] == [5]


def test_a_failure_stays_and_is_not_compared() -> None:
    failed = [{"kind": "outcome", "status": "failed", "why": "ValueError: no"}]
    results = figures({"a": block([1.0, 2.0, 3.0, 4.0]), "b": failed})
    found = by_name(results)["b"]
    assert (found["status"], found["why"], found["differences"]) == ("failed", "ValueError: no", {})
    assert results["comparisons"] == 0
    assert "`b` failed: ValueError: no." in sentences(results)


def test_a_run_that_is_not_finished_says_so() -> None:
    blocks = {"a": block([1.0, 2.0, 3.0, 4.0])}
    metrics = {"loss": "lower"}
    results = summarise({**CONFIG, "variants": ["a", "b"], "metrics": metrics}, blocks)
    assert results["unfinished"] == ["b"]
    assert "Not finished, without figures yet: `b`." in sentences(results)
    without = summarise({**CONFIG, "variants": ["b", "a"], "metrics": metrics}, blocks)
    assert without["contenders"][0]["differences"] == {}


def test_curves_are_means_until_a_seed_is_lost() -> None:
    kept, cut = synthetic.contender("a", 0.0), synthetic.contender("b", 0.0, lost=(4,))
    # The engine writes evaluations as they come, in blocks of their own.
    blocks = {
        "a/20": [r for r in kept if r["kind"] == "evaluation" and r["step"] <= 20],
        "a/200": [r for r in kept if r["kind"] == "evaluation" and r["step"] > 20],
        "a": [r for r in kept if r["kind"] != "evaluation"],
        "b": cut,
    }
    found = by_name(summarise({**CONFIG, "variants": ["a", "b"]}, blocks))
    curves = found["a"]["curves"]
    assert curves["step"] == list(range(20, 201, 20))
    assert curves["examples"] == [32 * step for step in curves["step"]]
    assert curves["flops"] == [1e6 * step for step in curves["step"]]
    values = [r["validation"]["brier"] for r in blocks["a/20"]]
    series = curves["metrics"]["brier"]
    assert series["estimate"][0] == pytest.approx(np.mean(values))
    half = stats.t.ppf(0.975, 3) * stats.sem(values)
    assert series["upper"][0] - series["estimate"][0] == pytest.approx(half)
    assert curves["lost_at"] is None
    lost = found["b"]["curves"]
    assert lost["lost_at"] == 120
    assert [v is None for v in lost["metrics"]["brier"]["estimate"]] == [False] * 5 + [True] * 5
    assert lost["metrics"]["brier"]["count"] == [4] * 5 + [3] * 5


def test_seconds_never_fall_where_a_run_was_continued() -> None:
    made = synthetic.contender("a", 0.0)
    for record in made:
        if record["kind"] == "evaluation" and record["step"] > 100:
            record["seconds"] -= 0.5
    curves = by_name(summarise({**CONFIG, "variants": ["a"]}, {"a": made}))["a"]["curves"]
    before = [0.01 * step for step in curves["step"] if step <= 100]
    after = [0.01 * step - 0.5 for step in curves["step"] if step > 100]
    assert min(after) < max(before) < max(after)
    assert curves["seconds"] == pytest.approx(before + [max(x, max(before)) for x in after])


def test_tuning_gives_no_score_to_a_trial_that_lost_a_seed() -> None:
    blocks = {
        "tune/softmax": synthetic.tuning("softmax", 0, lost=(2,)),
        "softmax": synthetic.contender("softmax", 0.0),
    }
    blocks["tune/softmax"][7]["validation"]["brier"] = None  # one seed of the last trial
    results = summarise({**CONFIG, "variants": ["softmax"]}, blocks)
    tuning = by_name(results)["softmax"]["tuning"]
    scores = [trial["score"] for trial in tuning["trials"]]
    assert scores[:2] == pytest.approx([0.1 + 0.0035, 0.11 + 0.0035])
    assert scores[2:] == [None, None]
    assert [trial["lost"] for trial in tuning["trials"]] == [0, 0, 2, 1]
    assert (tuning["chosen"], tuning["edge"]) == (0, "lowest")
    assert results["budget"]["softmax"] == {"trials": 4, "models": 8}


def test_speed_ratios_are_within_a_round_and_simultaneous() -> None:
    names = ["softmax", "entmax", "third"]
    blocks: dict[str, list[Record]] = {name: synthetic.contender(name, 0.0) for name in names}
    blocks["speed"] = synthetic.speed({"softmax": 100.0, "entmax": 25.0, "third": 120.0})
    level = by_name(summarise({**CONFIG, "variants": names}, blocks))["entmax"]
    assert level["steps_per_second"]["estimate"] == 25 * 3.5
    ratio = level["speed_ratio"]
    limits = (ratio["lower"], ratio["estimate"], ratio["upper"])
    assert limits == pytest.approx((0.25, 0.25, 0.25))
    noise = [1.1, 1.3, 0.95, 1.2, 1.25, 1.15]
    for record, factor in zip(blocks["speed"][2::3], noise, strict=True):
        record["steps_per_second"] *= factor / 1.2  # the third is 1.2 times as fast
    results = summarise({**CONFIG, "variants": names}, blocks)
    found = by_name(results)["third"]["speed_ratio"]
    logs = np.log(noise)
    low, high = stats.t.interval(1 - 0.05 / 2, 5, logs.mean(), stats.sem(logs))
    assert found["estimate"] == pytest.approx(stats.gmean(noise))
    assert (found["lower"], found["upper"]) == pytest.approx((np.exp(low), np.exp(high)))
    text = " ".join(sentences(results))
    slow = "slower for `entmax` (`entmax`: 4.0 times as long a step)"
    # Alone, the interval of the third would leave out 1; beside another it does not.
    assert np.exp(stats.t.interval(0.95, 5, logs.mean(), stats.sem(logs))[0]) > 1 > found["lower"]
    assert f"in the same round: {slow}; for 1 of 2 no difference is shown." in text


def test_bins_and_learned_parameters_are_those_of_the_seeds_that_are_left() -> None:
    made = synthetic.contender("softmax", 0.0, lost=(4,), learned=True)
    for record in made:
        if record["kind"] == "test":
            record["learned"]["scales"] = [1.0, float(record["seed"])]
    found = by_name(summarise({**CONFIG, "variants": ["softmax"]}, {"softmax": made}))["softmax"]
    assert found["bins"]["count"] == [0, 120, 180]
    assert found["bins"]["seeds"] == 3
    assert found["learned"]["scales[1]"]["estimate"] == pytest.approx((3 + 5 + 6) / 3)
    assert not math.isnan(found["learned"]["alpha"]["standard_error"])


def test_figures_are_ready_for_json(tmp_path: Path) -> None:
    import json

    from experiments.engine.report import read_run

    results = read_run(synthetic.whole_run(tmp_path / "run")).results
    assert json.loads(json.dumps(results, allow_nan=False)) == results
