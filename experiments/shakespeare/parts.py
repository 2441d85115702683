"""What the report of a language model shows besides: its text, attention, throughput, samples."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from experiments.charts import Series, line_chart
from experiments.engine.checks import DATA
from experiments.engine.config import Blocks
from experiments.engine.extras import Part
from experiments.engine.plots import styles
from experiments.engine.report_tables import anchor
from experiments.engine.tables import csv_text, markdown_table
from experiments.html_tables import cell, row, table, text_cell
from experiments.measured import plus_minus
from experiments.statistics import mean_with_error
from experiments.svg import Drawing

Figures = dict[str, Any]
# A smaller share of zeros is not spoken of.
_SOME = 0.01


def parts(results: Figures, blocks: Blocks) -> list[Part]:
    """Returns the parts of the report that there are records for."""
    found = [_text(results, blocks[DATA][0])] if DATA in blocks else []
    rows = [_measured(results, blocks, c) for c in results["contenders"]]
    if any(r["zeros"] for r in rows):
        found.append(_attention(results, rows))
    samples = _samples(results)
    return [*found, samples] if samples.body else found


def _text(results: Figures, data: Figures) -> Part:
    sizes, config = data["parts"], results["config"]
    tuning = f", {sizes['tuning']:,} to tune and for the curves" if sizes["tuning"] else ""
    said = (
        f"{data['source']}: {sizes['training']:,} tokens to train on{tuning}, {sizes['test']:,} to "
        f"test, {len(data['tokens']):,} different; {100 * data['others_share']:.2f}% of them are "
        "rare characters that count as one."
    )
    body = (
        f"<p>{escape(said)} Every token of the test part but the first is predicted once, from "
        "what its window has before it; windows do not overlap. A sparse output can give a label "
        "probability 0, which “missed” counts, and then NLL and bits a character are infinite. "
        "The smoothed bits are those of (p + ε) / (1 + ε classes) with ε = "
        f"{config['epsilon']:g}, as in ε-perplexity (Martins, Marinho and Martins, <cite>Sparse "
        "Text Generation</cite>, 2020).</p>"
    )
    figures = {name: value for name, value in data.items() if name not in ("kind", "tokens")}
    return Part("text", "Text", body, figures=figures, markdown=said)


def _measured(results: Figures, blocks: Blocks, contender: Figures) -> Figures:
    """Returns the zeros, the learned numbers and the throughput of a contender."""
    config = results["config"]
    tests = [
        r["attention_zeros"]
        for r in blocks[contender["name"]]
        if r["kind"] == "test" and r["seed"] not in contender["lost"]
    ]
    rate = contender["steps_per_second"]
    # A step is one of every seed.
    tokens = len(results["seeds"]) * config["batch_size"] * config["context"]
    return {
        "name": contender["name"],
        "zeros": [
            mean_with_error(of_layer, results["confidence"])
            for of_layer in zip(*tests, strict=True)
        ],
        "learned": _learned(contender["learned"]),
        "tokens_per_second": None if rate is None else _scaled(rate, tokens),
    }


def _learned(learned: Figures) -> Figures:
    """Returns the mean over heads of what each layer learned, by the name of the parameter."""
    found: dict[str, dict[str, list[float]]] = {}
    for label, figures in learned.items():
        name, layer = label.partition("[")[0].split()
        found.setdefault(name, {}).setdefault(layer, []).append(figures["estimate"])
    return {name: [float(np.mean(v)) for v in layers.values()] for name, layers in found.items()}


def _scaled(figures: Figures, factor: float) -> Figures:
    names = ("estimate", "lower", "upper")
    return figures | {n: None if figures[n] is None else factor * figures[n] for n in names}


def _attention(results: Figures, rows: Sequence[Figures]) -> Part:
    layers = range(results["config"]["layers"])
    head = ["Contender", *(f"Zeros % {i + 1}" for i in layers), "Learned", "Tokens/s"]
    shown = [
        row(c, _cells(i, r, layers), styles(results)[c["name"]])
        for i, (c, r) in enumerate(zip(results["contenders"], rows, strict=True))
    ]
    note = (
        "<p>Weights of visible keys that are exactly zero, layer by layer; what a layer learned, "
        "as the mean over its heads: the alpha of its entmax, or SSMax’s scale; tokens a second "
        "in training, evaluation and compilation apart.</p>"
    )
    overall = {r["name"]: float(np.mean([z["estimate"] for z in r["zeros"]] or [0])) for r in rows}
    sparse = {name: share for name, share in overall.items() if share >= _SOME}
    listed = ", ".join(f"`{name}` {100 * share:.0f}%" for name, share in sparse.items())
    findings = [f"Attention weights of visible keys that are exactly zero: {listed}."]
    return Part(
        "attention",
        "Attention and throughput",
        note + table(head, shown, {"Learned"}),
        drawings={"zeros": _drawing(results, rows, sparse)} if sparse else {},
        findings=findings if sparse else (),
        figures=list(rows),
        tables={"attention.csv": _csv(rows)},
        markdown=_markdown(rows, layers),
    )


def _cells(index: int, measured: Figures, layers: range) -> list[str]:
    place, target = f"more.attention[{index}]", f"#{anchor(measured['name'])}"
    zeros = measured["zeros"] or [None] * len(layers)
    rate = measured["tokens_per_second"]
    return [
        *(cell(z, f"{place}.zeros[{i}]", 100.0, 1, target) for i, z in enumerate(zeros)),
        text_cell(
            _learned_text(measured), f"{place}.learned", target if measured["learned"] else ""
        ),
        cell(rate, f"{place}.tokens_per_second", 1.0, 0, target),
    ]


def _learned_text(measured: Figures) -> str:
    shown = [
        f"{name} " + " ".join(f"{value:.2f}" for value in values)
        for name, values in measured["learned"].items()
    ]
    return ", ".join(shown) or "–"


def _drawing(results: Figures, rows: Sequence[Figures], sparse: Figures) -> Drawing:
    """Returns the zeros of the models that have some, layer by layer."""
    colors = styles(results)
    lines = []
    for measured in rows:
        if measured["name"] in sparse:
            middles = [100.0 * z["estimate"] for z in measured["zeros"]]
            points = [(float(i), z, z, z) for i, z in enumerate(middles, 1)]
            lines.append(Series(measured["name"], colors[measured["name"]], points))
    labels = ("layer", "attention weights at zero, %")
    return line_chart("Zeros of the attention", lines, labels, dots=True, digits=0)


def _markdown(rows: Sequence[Figures], layers: range) -> str:
    head = ["attention at zero, %", *(f"layer {i + 1}" for i in layers), "learned", "tokens/s"]
    lines = []
    for measured in rows:
        zeros = measured["zeros"] or [None] * len(layers)
        rate = measured["tokens_per_second"]
        lines.append(
            [
                measured["name"],
                *(plus_minus(z, 100.0, 1) for z in zeros),
                _learned_text(measured),
                "–" if rate is None else f"{rate['estimate']:,.0f}",
            ]
        )
    return markdown_table(head, lines)


def _csv(rows: Sequence[Figures]) -> str:
    lines: list[list[Any]] = [["contender", "layer", "zeros", "learned"]]
    for measured in rows:
        learned = next(iter(measured["learned"].values()), None)
        for i, zeros in enumerate(measured["zeros"]):
            value = None if learned is None else learned[i]
            lines.append([measured["name"], i + 1, zeros["estimate"], value])
    return csv_text(lines)


def _samples(results: Figures) -> Part:
    """Returns what each model writes after a new line, with the first seed."""
    texts = {
        c["name"]: c["shown"]["sample"]
        for c in results["contenders"]
        if c["shown"].get("sample") is not None
    }
    body = "".join(
        f"<details{' open' * (len(texts) == 1)}><summary><code>{escape(name)}</code></summary>"
        f"<pre>{escape(text)}</pre></details>"
        for name, text in texts.items()
    )
    alone = next(iter(texts.values())) if len(texts) == 1 else ""
    return Part("samples", "Samples", body, markdown=f"```\n{alone}\n```" if alone else "")
