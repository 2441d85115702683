"""What the figures of a run show, in words: nothing is said that an interval does not carry."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.columns import in_words, metric_columns
from experiments.engine.differences import SURVIVORS
from experiments.wording import interval, listed, named, verdicts

Figures = dict[str, Any]
_ENDED = {"failed": "failed", "diverged": "diverged", "unmoved": "did not learn"}


def sentences(results: Figures) -> list[str]:
    """Returns the findings, most general first; names stand between backquotes."""
    contenders = results["contenders"]
    compared = [c for c in contenders if c["differences"]]
    found = _reference(results)
    found += _metrics(results, compared) if compared else []
    found += _support(results)
    found += _learned(contenders)
    found += _speed(contenders, results["reference"])
    found += _tuning(contenders)
    found += _endings(contenders)
    if results["unfinished"]:
        names = results["unfinished"]
        found.append(f"Not finished, without figures yet: {named(names)}.")
    return found


def _reference(results: Figures) -> list[str]:
    """Gives the test figures of the reference."""
    reference = next((c for c in results["contenders"] if c["name"] == results["reference"]), None)
    if reference is None:
        return []
    parts = []
    for column in metric_columns(results):
        figures = reference["metrics"][column.name]
        if figures is not None and results["metrics"][column.name] != "neither":
            heading, unit = column.heading.removesuffix(" %"), "%" * column.heading.endswith(" %")
            shown = interval(figures, column.factor, column.digits)
            parts.append(f"{heading} {shown}{unit}")
    if not parts:
        return []
    seeds = len(results["seeds"]) - len(reference["lost"])
    return [
        f"The reference `{results['reference']}` has on the test part, over {seeds} "
        f"seed{'s' * (seeds != 1)}: {'; '.join(parts)}."
    ]


def _metrics(results: Figures, compared: Sequence[Figures]) -> list[str]:
    """Says who differs from the reference, in each metric or in several with the same findings."""
    found: dict[str, list[str]] = {}
    for metric in results["metrics"]:
        found.setdefault(_metric(results, compared, metric), []).append(in_words(metric))
    against = f"against `{results['reference']}`"
    return [f"In {_and(metrics)}, {against}: {words}." for words, metrics in found.items()]


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _metric(results: Figures, compared: Sequence[Figures], metric: str) -> str:
    """Says who differs from the reference in one metric, and for how many nothing is shown."""
    there = {c["name"]: c["differences"].get(metric) for c in compared}
    shown = {n: d for n, d in there.items() if d is not None and d["verdict"] != SURVIVORS}
    words = _directed(results, metric, shown) if shown else "no difference of all seeds"
    survived = [n for n, d in there.items() if d is not None and d["verdict"] == SURVIVORS]
    more = f"; {named(survived)}: only a difference of the survivors" if survived else ""
    return f"{words}{more}"


def _directed(results: Figures, metric: str, shown: Mapping[str, Figures]) -> str:
    if results["metrics"][metric] != "neither":
        return verdicts(shown)
    more, less = ([n for n, d in shown.items() if d["verdict"] == w] for w in ("more", "less"))
    rest = len(shown) - len(more) - len(less)
    parts = [
        f"{listed(names)} {word}" for names, word in ((more, "higher"), (less, "lower")) if names
    ]
    parts += [f"for {rest} of {len(shown)} no difference is shown"] if rest else []
    return "; ".join(parts)


def _support(results: Figures) -> list[str]:
    """Says how many classes the sparse maps keep, and what a zero costs."""
    if "support" not in results["metrics"]:
        return []
    sparse = [
        c
        for c in results["contenders"]
        if c["group"] == "sparse" and c["status"] == "trained" and c["metrics"]["support"]
    ]
    if not sparse:
        return []
    ordered = sorted(sparse, key=lambda c: float(c["metrics"]["support"]["estimate"]))
    ends = [(c["name"], c["metrics"]["support"]["estimate"]) for c in (ordered[0], ordered[-1])]
    text = (
        f"The sparse map `{ends[0][0]}` keeps {ends[0][1]:.2f} classes on average."
        if len(ordered) == 1
        else f"The trained sparse maps keep between {ends[0][1]:.2f} classes (`{ends[0][0]}`) and "
        f"{ends[1][1]:.2f} (`{ends[1][0]}`) on average."
    )
    missed = [c for c in sparse if c["metrics"].get("missed")]
    most = max(missed, key=lambda c: float(c["metrics"]["missed"]["estimate"]), default=None)
    if most is None or not most["metrics"]["missed"]["estimate"]:
        return [text]
    share = 100 * most["metrics"]["missed"]["estimate"]
    return [
        f"{text} The price of a zero: by estimate `{most['name']}` gives the true class "
        f"probability 0 most often, on {share:.2f}% of the test examples, where an unsmoothed NLL "
        "is infinite."
    ]


def _learned(contenders: Sequence[Figures]) -> list[str]:
    return [
        f"`{c['name']}` learned {name} = {interval(value)}."
        for c in contenders
        for name, value in c["learned"].items()
        if value
    ]


def _speed(contenders: Sequence[Figures], reference: str) -> list[str]:
    """Says which contenders' training steps are slower or faster, by the interval of the ratio."""
    ratios = {
        c["name"]: c["speed_ratio"]
        for c in contenders
        if c["speed_ratio"] and c["name"] != reference
    }
    if not ratios:
        return []
    slower = [n for n, r in ratios.items() if r["upper"] is not None and r["upper"] < 1]
    faster = [n for n, r in ratios.items() if r["lower"] is not None and r["lower"] > 1]
    rest = len(ratios) - len(slower) - len(faster)
    parts = []
    if faster:
        parts.append(f"shorter for {named(faster, 4)}")
    if slower:
        last = min(slower, key=lambda n: float(ratios[n]["estimate"]))
        times = 1 / ratios[last]["estimate"]
        parts.append(f"longer for {named(slower, 4)} (`{last}`: {times:.1f} times as long)")
    parts += [f"for {rest} of {len(ratios)} not shown to differ"] if rest else []
    return [f"A training step, against `{reference}` in the same round, is {'; '.join(parts)}."]


def _tuning(contenders: Sequence[Figures]) -> list[str]:
    """Says whose learning rate is at an end of what was tried."""
    found = []
    for end in ("lowest", "highest"):
        names = [
            c["name"]
            for c in contenders
            if c["status"] == "trained" and c["tuning"] and c["tuning"]["edge"] == end
        ]
        if names:
            found.append(
                f"{named(names, 4)} chose the {end} learning rate that was tried: a wider range "
                "might serve better."
            )
    return found


def _endings(contenders: Sequence[Figures]) -> list[str]:
    found = []
    for c in contenders:
        if c["status"] in _ENDED:
            kept = _kept(c)
            found.append(f"`{c['name']}` {_ENDED[c['status']]}: {c['why']}.{kept}")
    return found


def _kept(contender: Figures) -> str:
    """Says which seeds the figures of a contender are over, where it lost some of them."""
    first = next(iter(contender["differences"].values()), None)
    if not contender["lost"] or not any(contender["metrics"].values()):
        return ""
    lost = ", ".join(map(str, contender["lost"]))
    text = f" Its figures leave out the lost seeds ({lost}), which flatters them"
    if first is None:
        return f"{text}."
    seeds = ", ".join(map(str, first["seeds"]))
    return f"{text}; its differences are over the seeds {seeds}."
