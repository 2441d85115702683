"""The tables that `compare` prints; every line fits in 118 columns."""

from typing import Any

import numpy as np

from experiments.measured import layout

Figures = dict[str, Any]
_MARKS = {"better": "+", "worse": "-", "no difference shown": " "}


def all_tables(results: Figures) -> list[str]:
    """Returns the quality and the cost of each model, and its attention layer by layer."""
    return [main_table(results), attention_table(results)]


def main_table(results: Figures) -> str:
    """Returns the quality and the cost of each model."""
    config, level = results["config"], f"{100 * results['confidence']:g}%"
    header = ["attention/loss", "bits/char", "smoothed", "minus softmax", "correct %"]
    header += ["support", "at 0 %", "tokens/s", "speed"]
    rows = [_row(contender) for contender in results["contenders"]]
    notes = [
        f"± {level} interval over {config['seeds']} seeds (Student t); minus softmax: smoothed "
        "loss less that of softmax/cross_entropy,",
        f"paired by seed, simultaneous over {results['comparisons']} models (Bonferroni); + "
        "better, - worse, no mark: the interval covers zero.",
        "bits/char: exact, infinite where a label has probability 0; smoothed: nats of (p + e) / "
        f"(1 + e classes), e = {config['epsilon']:g}.",
        "support: tokens above zero in an output; at 0: labels to which it gives 0.",
        f"tokens/s: of training, median of {config['speed_rounds']} interleaved rounds; speed: "
        "steps over those of softmax/cross_entropy.",
    ]
    ended = [c for c in results["contenders"] if c["status"] != "trained"]
    notes += [f"!! {c['name']} ({c['status']}): {c['why'][:90]}" for c in ended]
    return "\n".join([layout(header, rows), *notes])


def attention_table(results: Figures) -> str:
    """Returns what each layer's attention leaves out, and what its heads learned."""
    layers = results["config"]["layers"]
    header = ["attention weights at zero, %", *(f"layer {i + 1}" for i in range(layers)), "learned"]
    rows = []
    for contender in results["contenders"]:
        zeros = contender["attention_zeros"]
        cells = [_plus_minus(zero, 100.0, 1) for zero in zeros] or ["–"] * layers
        rows.append([contender["name"], *cells, learned(contender)])
    note = "learned: the mean over heads and seeds in each layer, of alpha or of SSMax's scale."
    return "\n".join([layout(header, rows), note])


def learned(contender: Figures) -> str:
    """Returns the learned parameters of the attention, layer by layer."""
    for name, word in (("alphas", "alpha"), ("scales", "s")):
        if contender[name]:
            shown = " ".join(f"{layer['estimate']:.2f}" for layer in contender[name])
            return f"{word} {shown}"
    return ""


def zeros_overall(contender: Figures) -> float | None:
    """Returns the mean fraction of zeros over layers."""
    zeros = [layer["estimate"] for layer in contender["attention_zeros"] if layer]
    return float(np.mean(zeros)) if zeros else None


def _row(contender: Figures) -> list[str]:
    metrics, difference = contender["metrics"], contender["differences"]["smoothed"]
    mark = f" {_MARKS[difference['verdict']]}" if difference else ""
    tokens, ratio = contender["tokens_per_second"], contender["speed_ratio"]
    infinite = metrics["bits"] is None and metrics["smoothed"] is not None
    return [
        contender["name"] + ("" if contender["status"] == "trained" else " !!"),
        "∞" if infinite else _estimate(metrics["bits"], 3),
        _plus_minus(metrics["smoothed"], 1.0, 3),
        _plus_minus(difference, 1.0, 3, "+") + mark,
        _estimate(metrics["accuracy"], 2, 100.0),
        _estimate(metrics["support"], 1),
        _estimate(metrics["impossible"], 2, 100.0),
        _estimate(tokens, 0),
        "–" if ratio is None else f"{ratio['estimate']:.2f}x",
    ]


def _estimate(interval: Figures | None, digits: int, factor: float = 1.0) -> str:
    return "–" if interval is None else f"{factor * interval['estimate']:,.{digits}f}"


def _plus_minus(interval: Figures | None, factor: float, digits: int, sign: str = "") -> str:
    if interval is None or interval["estimate"] is None:
        return "–"
    estimate = f"{factor * interval['estimate']:{sign}.{digits}f}"
    if interval["lower"] is None or interval["upper"] is None:
        return estimate
    return f"{estimate} ±{factor * (interval['upper'] - interval['lower']) / 2.0:.{digits}f}"
