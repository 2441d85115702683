"""The figures of the estimators as CSV, and how a bias is written."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

Figures = dict[str, Any]
_LIMITS = ("estimate", "lower", "upper")


def training_lines(trained: Figures) -> str:
    """Returns the ELBO of the training images of each contender, and less the reference's."""
    lines: list[Sequence[Any]] = [("contender", "figure", *_LIMITS, "verdict")]
    for name, figures in trained.items():
        for figure in ("elbo", "difference"):
            found = figures[figure] or {}
            lines.append((name, figure, *(found.get(n) for n in _LIMITS), found.get("verdict")))
    return _csv(lines)


def gradient_lines(measured: Sequence[Figures]) -> str:
    """Returns the moments of every measured gradient, one a line."""
    lines: list[Sequence[Any]] = [("method", "temperature", "step", "part", "figure", *_LIMITS)]
    for method in measured:
        for entry in method["temperatures"]:
            for probe in entry["probes"]:
                place = (method["method"], entry["temperature"], probe["step"])
                for part in ("encoder", "decoder"):
                    for name in ("bias", "variance", "cosine"):
                        moment = probe[part][name]
                        lines.append((*place, part, name, *(moment[n] for n in _LIMITS)))
    return _csv(lines)


def label(method: str, temperature: float | None) -> str:
    """Returns a method and its temperature, as the contenders are called."""
    return method if temperature is None else f"{method}_{temperature:g}"


def bias_text(bias: Figures) -> str:
    """Returns a bias with half its interval, or its upper limit where it may be zero."""
    if bias["estimate"] is None or bias["upper"] is None:
        return "–"
    if not bias["lower"]:
        return f"< {bias['upper']:.2g}"
    return f"{bias['estimate']:.3f} ±{(bias['upper'] - bias['lower']) / 2.0:.3f}"


def _csv(lines: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
