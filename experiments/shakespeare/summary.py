"""What the figures of a comparison show: nothing is said that an interval does not carry."""

from collections.abc import Sequence
from typing import Any

from experiments.shakespeare.tables import zeros_overall

Figures = dict[str, Any]


def sentences(results: Figures) -> list[str]:
    """Returns the findings; names stand between backquotes."""
    contenders = results["contenders"]
    reference = next((c for c in contenders if c["name"] == results["reference"]), None)
    found = []
    if reference and reference["metrics"]["nll"]:
        metrics = reference["metrics"]
        found.append(
            f"`{reference['name']}` reaches a validation loss of {_interval(metrics['nll'])} nats, "
            f"{_interval(metrics['bits'])} bits a character."
        )
    for metric, word in (("smoothed", "smoothed loss"), ("accuracy", "accuracy")):
        compared = [c for c in contenders if c["differences"][metric]]
        if compared:
            found.append(_compared(compared, metric, word))
    found += _sparsity(contenders)
    found += _speed(contenders, results["reference"])
    found += [
        f"`{c['name']}` {c['status']}: {c['why']}." for c in contenders if c["status"] != "trained"
    ]
    return found


def _compared(compared: Sequence[Figures], metric: str, word: str) -> str:
    better, worse = (
        [c["name"] for c in compared if c["differences"][metric]["verdict"] == verdict]
        for verdict in ("better", "worse")
    )
    rest = len(compared) - len(better) - len(worse)
    parts = [f"{_listed(better)} better" if better else "none is better"]
    parts.append(f"{_listed(worse)} worse" if worse else "none is worse")
    parts.append(f"for {rest} of {len(compared)} no difference is shown")
    return f"In {word}, after the same steps, against softmax in both places: {'; '.join(parts)}."


def _sparsity(contenders: Sequence[Figures]) -> list[str]:
    shares = [(c["name"], zeros_overall(c)) for c in contenders]
    sparse = [(name, share) for name, share in shares if share is not None and share >= 0.01]
    found = []
    if sparse:
        listed = ", ".join(f"`{name}` {100 * share:.0f}%" for name, share in sparse)
        found.append(f"Attention weights of visible keys that are exactly zero: {listed}.")
    outputs = [c for c in contenders if c["loss_name"] == "entmax15" and c["metrics"]["support"]]
    if outputs:
        listed = ", ".join(
            f"`{c['name']}` {c['metrics']['support']['estimate']:.1f} tokens, the label among the "
            f"rest in {100 * c['metrics']['impossible']['estimate']:.1f}%"
            for c in outputs
        )
        found.append(f"Outputs give more than zero to: {listed}.")
    return found


def _speed(contenders: Sequence[Figures], reference: str) -> list[str]:
    timed = [c for c in contenders if c["speed_ratio"] and c["name"] != reference]
    if not timed:
        return []
    fast, slow = (
        pick(timed, key=lambda c: float(c["speed_ratio"]["estimate"])) for pick in (max, min)
    )
    return [
        f"Steps a second against `{reference}`: from {slow['speed_ratio']['estimate']:.2f} times "
        f"(`{slow['name']}`) to {fast['speed_ratio']['estimate']:.2f} times (`{fast['name']}`)."
    ]


def _interval(interval: Figures) -> str:
    if interval["lower"] is None:
        return f"{interval['estimate']:.3f}"
    return f"{interval['estimate']:.3f} ± {(interval['upper'] - interval['lower']) / 2:.3f}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names)
    return f"{shown} {'is' if len(names) == 1 else 'are'}"
