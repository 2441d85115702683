"""Drawings of a comparison on words: small panels for each head, beside full softmax in grey."""

from collections.abc import Callable, Sequence
from typing import Any

from experiments.svg import Drawing, Scale
from experiments.ticks import apart, levels, powers, short

Figures = dict[str, Any]
_WIDTH, _HEIGHT = 190.0, 130.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 34.0, _WIDTH - 8, 8.0, _HEIGHT - 16


def overview(task: Figures) -> Drawing:
    """Returns one chart of all heads: the test NLL (up) against the words per second (right)."""
    drawing = Drawing(600, 300, f"{task['name']}: test NLL against words per second")
    shown = [c for c in task["contenders"] if c["nll"] and c["words_per_second"]]
    if not shown:
        return drawing
    rates = [c["words_per_second"]["estimate"] for c in shown]
    nlls = [c["nll"]["estimate"] for c in shown]
    x = Scale(min(rates) / 1.3, max(rates) * 1.3, 44, 440, log=True)
    margin = max(0.08 * (max(nlls) - min(nlls)), 0.02)
    y = Scale(min(nlls) - margin, max(nlls) + margin, 262, 14)
    drawing.axes(x, y, powers(x, short), levels(y))
    drawing.text(x.end, 292, "words per second of training →", "note", "end")
    drawing.text(4, 9, "test NLL ↓ is better", "note")
    points = sorted(zip(nlls, rates, shown, strict=True), key=lambda p: -p[0])
    heights = apart([y(nll) for nll, _, _ in points], 12.0, 14.0, 262.0)
    for (nll, rate, contender), height in zip(points, heights, strict=True):
        drawing.line([(x(rate), y(nll)), (470, height)], "grid")
        drawing.dot(x(rate), y(nll), 4.0, f"{contender['group']} fill")
        drawing.dot(478, height, 3.0, f"{contender['group']} fill")
        drawing.text(486, height + 3, f"{contender['name']}  {nll:.3f}", "name")
    return drawing


def learning_curves(task: Figures) -> list[Drawing]:
    """Returns the validation NLL of each head over the seconds of training."""
    shown = [c for c in task["contenders"] if c["curve"]["step"] and c["steps_per_second"]]
    curves = {c["name"]: _over_seconds(c) for c in shown}
    values = [v for c in shown for v in (*c["curve"]["lower"], *c["curve"]["upper"])]
    seconds = [s for points in curves.values() for s, *_ in points]
    if not seconds:
        return []
    x = Scale(min(seconds), max(seconds), _LEFT, _RIGHT, log=True)
    pad = 0.04 * (max(values) - min(values)) + 1e-3
    y = Scale(min(values) - pad, max(values) + pad, _BOTTOM, _TOP)
    drawings = []
    for contender in shown:
        drawing = Drawing(_WIDTH, _HEIGHT, contender["name"])
        drawing.axes(x, y, powers(x, _seconds), levels(y))
        if task["quality"] is not None:
            level = y(task["quality"])
            drawing.line([(x.start, level), (x.end, level)], "zero")
        if contender["name"] != "full" and "full" in curves:
            _band(drawing, x, y, curves["full"], "quiet")
        _band(drawing, x, y, curves[contender["name"]], contender["group"])
        drawings.append(drawing)
    return drawings


def bucket_panels(task: Figures) -> list[Drawing]:
    """Returns the test NLL of each head less that of full, by the rank of the word."""
    shown = [c for c in task["contenders"] if any(_minus(b) is not None for b in c["buckets"])]
    shown = [c for c in shown if c["name"] != "full"]
    values = [v for c in shown for b in c["buckets"] if (v := _minus(b)) is not None]
    if not values:
        return []
    pad = 0.06 * (max(*values, 0.0) - min(*values, 0.0)) + 1e-3
    y = Scale(min(*values, 0.0) - pad, max(*values, 0.0) + pad, _BOTTOM, _TOP)
    drawings = []
    for contender in shown:
        drawing = Drawing(_WIDTH, _HEIGHT, contender["name"])
        names = [_bucket(bucket["name"]) for bucket in contender["buckets"]]
        x = Scale(0.0, float(len(names)), _LEFT, _RIGHT)
        drawing.axes(x, y, [(i + 0.5, name) for i, name in enumerate(names)], levels(y))
        for i, bucket in enumerate(contender["buckets"]):
            value = _minus(bucket)
            if value is not None:
                top, bottom = y(max(value, 0.0)), y(min(value, 0.0))
                left, right = x(i + 0.18), x(i + 0.82)
                style = f"{contender['group']} fill"
                drawing.rect(left, top, right - left, max(bottom - top, 0.8), style)
        drawing.line([(x.start, y(0.0)), (x.end, y(0.0))], "axis")
        drawings.append(drawing)
    return drawings


def _minus(bucket: Figures) -> float | None:
    value: float | None = bucket["minus_reference"]
    return value


def scaling_panels(
    results: Figures, value: Callable[[Figures], float], label: Callable[[float], str]
) -> list[Drawing]:
    """Returns a figure of each head's step over the size of the vocabulary, both on log scales."""
    heads = {h["name"]: h for h in results["scaling"] if h["sizes"]}
    values = [value(size) for head in heads.values() for size in head["sizes"]]
    sizes = results["config"]["scaling"]
    if not values or len(sizes) < 2:
        return []
    x = Scale(min(sizes), max(sizes), _LEFT, _RIGHT - 4, log=True)
    y = Scale(min(values) / 1.4, max(values) * 1.4, _BOTTOM, _TOP, log=True)
    drawings = []
    for name in heads:
        drawing = Drawing(_WIDTH, _HEIGHT, name)
        drawing.axes(x, y, [(size, short(size)) for size in sizes], powers(y, label))
        for line in ("full", name):
            if line in heads:
                style = heads[line]["group"] if line == name else "quiet"
                points = [(x(s["classes"]), y(value(s))) for s in heads[line]["sizes"]]
                drawing.line(points, f"{style} line")
                for point in points:
                    drawing.dot(*point, 2.4, f"{style} fill")
        drawings.append(drawing)
    return drawings


def step_time(results: Figures) -> list[Drawing]:
    """Returns the time of a training step over the size of the vocabulary."""
    return scaling_panels(results, lambda size: size["seconds"]["estimate"], _seconds)


def step_memory(results: Figures) -> list[Drawing]:
    """Returns the temporary memory of training steps over the size of the vocabulary."""
    return scaling_panels(results, lambda size: size["temporary_bytes"], _bytes)


def _over_seconds(contender: Figures) -> list[tuple[float, float, float, float]]:
    """Returns time, mean, smallest and largest NLL of each evaluation after the first."""
    curve, rate = contender["curve"], contender["steps_per_second"]["estimate"]
    rows = zip(curve["step"], curve["estimate"], curve["lower"], curve["upper"], strict=True)
    return [(step / rate, *values) for step, *values in rows if step > 0]


def _band(
    drawing: Drawing,
    x: Scale,
    y: Scale,
    points: Sequence[tuple[float, float, float, float]],
    style: str,
) -> None:
    outline = [(x(p[0]), y(p[2])) for p in points] + [(x(p[0]), y(p[3])) for p in reversed(points)]
    drawing.area(outline, f"{style} band fill")
    drawing.line([(x(p[0]), y(p[1])) for p in points], f"{style} line")
    drawing.dot(x(points[-1][0]), y(points[-1][1]), 2.4, f"{style} fill")


def _seconds(seconds: float) -> str:
    for size, mark in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size * (1 - 1e-9):
            return f"{seconds / size:.3g} {mark}"
    return f"{seconds:.0e} s"


def _bytes(count: float) -> str:
    for size, mark in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size * (1 - 1e-9):
            return f"{count / size:.3g} {mark}"
    return f"{count:.0f} B"


def _bucket(name: str) -> str:
    """Returns the rank before a bucket's first, 1 for the first one, or `rest`."""
    first = name.split("–")[0]
    return short(float(first.replace(",", "")) - 1 or 1) if "–" in name else "rest"
