"""What the figures of a run show, in words: nothing is said that an interval does not carry."""

from collections.abc import Sequence
from typing import Any

from experiments.wording import interval, verdicts

Figures = dict[str, Any]
_NAMES = {
    "accuracy": "accuracy",
    "nll": "NLL",
    "brier": "the Brier score",
    "ece": "calibration (ECE)",
}


def sentences(results: Figures) -> list[str]:
    """Returns the findings, most general first; names stand between backquotes."""
    contenders = results["contenders"]
    reference = next((c for c in contenders if c["name"] == results["reference"]), None)
    found = [_reference(results, reference)] if reference and _has_metrics(reference) else []
    compared = [c for c in contenders if c["differences"]]
    if compared:
        found += [_metric(results, compared, metric) for metric in _NAMES]
    found += _support(contenders, compared)
    found += _learned(contenders)
    found += _speed(contenders, results["reference"])
    found += _endings(contenders)
    return found


def _has_metrics(contender: Figures) -> bool:
    return contender["metrics"]["accuracy"] is not None


def _reference(results: Figures, reference: Figures) -> str:
    accuracy, nll = reference["metrics"]["accuracy"], reference["metrics"]["nll"]
    return (
        f"`{results['reference']}` with its cross-entropy is right on "
        f"{interval(accuracy, 100.0, 2)}% of the test images, at an NLL of {interval(nll)}."
    )


def _metric(results: Figures, compared: Sequence[Figures], metric: str) -> str:
    """Says who differs from the reference in one metric, and for how many nothing is shown."""
    differences = {c["name"]: c["differences"][metric] for c in compared}
    return f"In {_NAMES[metric]}, against `{results['reference']}`: {verdicts(differences)}."


def _support(contenders: Sequence[Figures], compared: Sequence[Figures]) -> list[str]:
    sparse = [c for c in contenders if c["group"] == "sparse" and c in compared]
    trained = [c for c in sparse if c["status"] == "trained" and _has_metrics(c)]
    if not trained:
        return []
    ordered = sorted(trained, key=lambda c: float(c["metrics"]["support"]["estimate"]))
    first, last = ordered[0], ordered[-1]
    text = (
        f"The trained sparse maps keep between {first['metrics']['support']['estimate']:.2f} "
        f"classes of ten (`{first['name']}`) and {last['metrics']['support']['estimate']:.2f} "
        f"(`{last['name']}`) on average."
    )
    missed = max(trained, key=lambda c: float(c["metrics"]["missed"]["estimate"]))
    share = 100 * missed["metrics"]["missed"]["estimate"]
    return [
        f"{text} The price of a zero: `{missed['name']}` gives the true class probability 0 on "
        f"{share:.2f}% of the test images, the most of them; unsmoothed, its NLL would be infinite."
        if share > 0
        else text
    ]


def _learned(contenders: Sequence[Figures]) -> list[str]:
    return [
        f"`{c['name']}` learned {name} = {interval(value)}."
        for c in contenders
        for name, value in c["learned"].items()
        if value
    ]


def _speed(contenders: Sequence[Figures], reference: str) -> list[str]:
    timed = [
        c
        for c in contenders
        if c["speed_ratio"] and c["name"] != reference and c["group"] != "sweep"
    ]
    slower = [
        c for c in timed if c["speed_ratio"]["upper"] is not None and c["speed_ratio"]["upper"] < 1
    ]
    if not slower:
        return []
    slowest = min(slower, key=lambda c: float(c["speed_ratio"]["estimate"]))
    return [
        f"A whole training step takes longer than with `{reference}` for {len(slower)} of "
        f"{len(timed)} maps, by the interval of the ratio in the same round; longest with "
        f"`{slowest['name']}`, {1 / slowest['speed_ratio']['estimate']:.1f} times as long."
    ]


def _endings(contenders: Sequence[Figures]) -> list[str]:
    return [
        f"`{c['name']}` {_ENDED[c['status']]}: {c['why']}."
        for c in contenders
        if c["status"] in _ENDED
    ]


_ENDED = {"failed": "failed", "diverged": "diverged", "unmoved": "did not learn"}
