"""What the figures of a run show, in words: nothing is said that an interval does not carry."""

from typing import Any

from experiments.wording import interval, verdicts

Figures = dict[str, Any]


def sentences(results: Figures) -> list[str]:
    """Returns the findings; names stand between backquotes."""
    found = []
    for task in results["tasks"]:
        found += _task(results, task)
    return [*found, *_scaling(results)]


def _task(results: Figures, task: Figures) -> list[str]:
    name, contenders = task["name"], task["contenders"]
    reference = next((c for c in contenders if c["name"] == results["reference"]), None)
    found = []
    if reference and reference["nll"]:
        found.append(
            f"`{name}`: full softmax reaches a test NLL of {interval(reference['nll'])}, a "
            f"perplexity of {reference['perplexity']:,.0f}."
        )
    compared = [c for c in contenders if c["difference"]]
    if compared:
        shown = verdicts({c["name"]: c["difference"] for c in compared})
        found.append(f"`{name}`: after the same steps, against full softmax: {shown}.")
    found += _speed(results, task)
    found += [
        f"`{name}`: `{c['name']}` {c['status']}: {c['why']}."
        for c in contenders
        if c["status"] != "trained"
    ]
    return found


def _speed(results: Figures, task: Figures) -> list[str]:
    timed = [
        c
        for c in task["contenders"]
        if c["seconds_to_quality"] and c["name"] != results["reference"]
    ]
    reference = next((c for c in task["contenders"] if c["name"] == results["reference"]), None)
    if not timed or reference is None or not reference["seconds_to_quality"]:
        return []
    first = min(timed, key=lambda c: float(c["seconds_to_quality"]))
    ratio = reference["seconds_to_quality"] / first["seconds_to_quality"]
    return [
        f"`{task['name']}`: the quality that takes full softmax "
        f"{reference['seconds_to_quality']:.2f} s of training is reached first by "
        f"`{first['name']}`, in {first['seconds_to_quality']:.2f} s ({ratio:.1f} times as fast); "
        "making trees and samplers beforehand is not counted."
    ]


def _scaling(results: Figures) -> list[str]:
    """Says how the time of a step grows with the vocabulary, from its smallest to its largest."""
    found = []
    sizes = results["config"]["scaling"]
    grown: dict[str, float] = {}
    for head in results["scaling"]:
        times = {s["classes"]: s["seconds"]["estimate"] for s in head["sizes"]}
        if len(sizes) > 1 and sizes[0] in times and sizes[-1] in times:
            grown[head["name"]] = times[sizes[-1]] / times[sizes[0]]
    if grown:
        listed = ", ".join(f"`{name}` {ratio:.1f}" for name, ratio in grown.items())
        found.append(
            f"From {sizes[0]:,} to {sizes[-1]:,} synthetic words the time of a step becomes so "
            f"many times as long: {listed}."
        )
    return found
