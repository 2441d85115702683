"""What the report of a run on words shows besides the engine's figures."""

from collections.abc import Callable, Sequence
from typing import Any

from experiments.charts import Series, line_panels
from experiments.engine.config import Blocks
from experiments.engine.differences import SURVIVORS
from experiments.engine.extras import Part
from experiments.engine.plots import styles
from experiments.engine.report_tables import anchor
from experiments.engine.tables import csv_text, markdown_table
from experiments.html_tables import cell, difference_cell, glyph_limit, plain_cell, row, table
from experiments.measured import plus_minus
from experiments.page import method
from experiments.svg import Drawing
from experiments.wording import named
from experiments.words.buckets import OTHERS
from experiments.words.frequency_table import frequency_figures
from experiments.words.growth import growth_figures
from experiments.words.quality import quality_figures
from experiments.words.scaling import block_name
from experiments.words.texts import GROWTH, of_buckets, of_quality, of_text

Figures = dict[str, Any]
_MARKS = {"better": " +", "worse": " -", SURVIVORS: " ?"}
_LIMITS = ("lower", "upper")


def parts(results: Figures, blocks: Blocks) -> list[Part]:
    """Returns the parts of the report; those that there are no figures for are left out."""
    made = [text_part(results, blocks)]
    quality = quality_figures(results, blocks)
    made += [quality_part(results, quality)] if quality else []
    frequencies = frequency_figures(results, blocks)
    made += [frequency_part(results, frequencies)] if frequencies else []
    grown = growth_figures(results, blocks)
    made += [growth_part(results, grown)] if grown else []
    return made


def text_part(results: Figures, blocks: Blocks) -> Part:
    """Returns what the text and the models are."""
    (data,) = blocks["data"]
    facts = {name: value for name, value in data.items() if name != "kind"}
    return Part("text", "The text and the models", method(of_text(results, data)), figures=facts)


def quality_part(results: Figures, figures: Figures) -> Part:
    """Returns the time to the quality, and words per second."""
    columns = ("seconds", "ratio", "steps", "words_per_second")
    over = f"Time over {results['reference']}'s"
    heads = ["Seconds to quality", over, "Steps to quality", "Words/s"]
    rows, lines = [], []
    for i, c in enumerate(figures["contenders"]):
        place, target = f"more.quality.contenders[{i}]", f"#{anchor(c['name'])}"
        cells = [
            plain_cell(c["seconds"], f"{place}.seconds", 1.0, 2, target),
            cell(c["ratio"], f"{place}.ratio", 1.0, 3, target),
            cell(c["steps"], f"{place}.steps", 1.0, 0, target),
            cell(c["words_per_second"], f"{place}.words_per_second", 1.0, 0, target),
        ]
        rows.append(_row(results, c["name"], cells))
        most = "≤ " if c["at_most"] else ""
        seconds = "–" if c["seconds"] is None else f"{most}{c['seconds']:.2f}"
        texts = [seconds, _between(c["ratio"]), plus_minus(c["steps"], 1.0, 0)]
        lines.append([c["name"], *texts, plus_minus(c["words_per_second"], 1.0, 0)])
    csv = [[c["name"], name, *_numbers(c[name])] for c in figures["contenders"] for name in columns]
    header = ["contender", "figure", "estimate", "lower", "upper"]
    return Part(
        "quality",
        "Time to a quality",
        f"<p>{of_quality(results, figures)}</p>{table(['Contender', *heads], rows)}",
        findings=_of_quality(results, figures),
        figures=figures,
        tables={"quality.csv": csv_text([header, *csv])},
        markdown=markdown_table(["", *heads], lines),
    )


def _of_quality(results: Figures, figures: Figures) -> list[str]:
    """Says who is faster to the quality, where the interval shows it."""
    ratios = {c["name"]: c["ratio"] for c in figures["contenders"] if c["ratio"]}
    known = {n: r for n, r in ratios.items() if (r["lower"], r["upper"]) != (None, None)}
    faster = [n for n, r in known.items() if r["upper"] is not None and r["upper"] < 1.0]
    slower = [n for n, r in known.items() if r["lower"] is not None and r["lower"] > 1.0]
    if not known:
        return []
    reference = results["reference"]
    told = [f"less time than `{reference}`: {named(faster)}"] if faster else []
    told += [f"more time: {named(slower)}"] if slower else []
    rest = len(known) - len(faster) - len(slower)
    told += [f"for {rest} of {len(known)} no difference is shown"] if rest else []
    return [
        f"To a validation NLL of {figures['nll']:.3f}, {'; '.join(told)}. Making trees and "
        "samplers beforehand is not counted."
    ]


def frequency_part(results: Figures, figures: Sequence[Figures]) -> Part:
    """Returns the NLL by the rank of the word."""
    names = [bucket["name"] for bucket in figures[0]["buckets"]]
    limits = {
        i: glyph_limit(
            [c["buckets"][i]["difference"] for c in figures if c["buckets"][i]["difference"]]
        )
        for i in range(len(names))
    }
    rows, lines, csv = [], [], []
    for i, c in enumerate(figures):
        cells, texts, target = [], [], f"#{anchor(c['name'])}"
        for j, bucket in enumerate(c["buckets"]):
            place = f"more.frequency[{i}].buckets[{j}]"
            difference = bucket["difference"]
            if c["name"] == results["reference"]:
                cells.append(cell(bucket["nll"], f"{place}.nll", 1.0, 3, target))
                texts.append(plus_minus(bucket["nll"], 1.0, 3))
            else:
                at = f"{place}.difference"
                cells.append(difference_cell(difference, at, limits[j], 1.0, 3, target))
                mark = _MARKS.get(difference["verdict"], "") if difference else ""
                texts.append(plus_minus(difference, 1.0, 3, "+") + mark)
            for name in ("nll", "difference"):
                csv.append([c["name"], bucket["name"], name, *_numbers(bucket[name])])
        rows.append(_row(results, c["name"], cells))
        lines.append([c["name"], *texts])
    header = ["contender", "ranks", "figure", "estimate", "lower", "upper"]
    drawings = frequency_panels(results, figures)
    return Part(
        "frequency",
        "NLL by the frequency of the word",
        f"<p>{of_buckets(results)}</p>{table(['Contender', *names], rows)}",
        drawings={"by_frequency": drawings} if drawings else {},
        figures=list(figures),
        tables={"frequency.csv": csv_text([header, *csv])},
        markdown=markdown_table([f"minus {results['reference']}", *names], lines),
    )


def frequency_panels(results: Figures, figures: Sequence[Figures]) -> list[Drawing]:
    """Returns for each head what its NLL is more than full's, over the last rank of a bucket."""
    colors = styles(results)
    lines = []
    for c in figures:
        points = [
            (_last_rank(bucket["name"]), *_limits(bucket["difference"]))
            for bucket in c["buckets"]
            if bucket["difference"] and bucket["name"] != OTHERS
        ]
        lines.append(Series(c["name"], colors[c["name"]], points))
    return line_panels(lines, results["reference"], log_x=True)


def growth_part(results: Figures, figures: Sequence[Figures]) -> Part:
    """Returns how a step grows with the vocabulary."""
    sizes = results["config"]["scaling"]
    rows, lines, csv = [], [], []
    for i, head in enumerate(figures):
        at = {size["classes"]: j for j, size in enumerate(head["sizes"])}
        cells, texts = [], []
        for classes in sizes:
            size = head["sizes"][at[classes]] if classes in at else None
            place = f"more.growth[{i}].sizes[{at.get(classes)}]" if size else ""
            target = "#" + anchor(f"more/{block_name(classes)}")
            seconds = size["seconds"] if size else None
            temporary = size["temporary_bytes"] if size else None
            cells.append(cell(seconds, f"{place}.seconds", 1e3, 2, target))
            cells.append(plain_cell(temporary, f"{place}.temporary_bytes", 1e-6, 1, target))
            texts.append(plus_minus(seconds, 1e3, 2))
            texts.append("–" if temporary is None else f"{1e-6 * temporary:,.1f}")
            if size:
                limits = _numbers(seconds)
                csv.append([head["name"], classes, *limits, temporary, size["head_bytes"]])
        rows.append(_row(results, head["name"], cells))
        lines.append([head["name"], *texts])
    heads = [f"{unit} at {classes:,}" for classes in sizes for unit in ("ms", "MB")]
    header = ["contender", "classes", "seconds", "lower", "upper", "temporary_bytes", "head_bytes"]
    drawings = {
        "step_milliseconds": growth_panels(
            results, figures, "ms a step", lambda s: _limits(s["seconds"], 1e3)
        ),
        "step_megabytes": growth_panels(
            results, figures, "temporary MB", lambda s: _limits(_point(s), 1e-6)
        ),
    }
    return Part(
        "growth",
        "A step over the size of the vocabulary",
        f"<p>{GROWTH}</p>{table(['Contender', *heads], rows)}",
        drawings={name: drawn for name, drawn in drawings.items() if drawn},
        findings=_of_growth(sizes, figures),
        figures=list(figures),
        tables={"growth.csv": csv_text([header, *csv])},
        markdown=markdown_table(["", *heads], lines),
    )


def growth_panels(
    results: Figures,
    figures: Sequence[Figures],
    unit: str,
    values: Callable[[Figures], tuple[float, float, float]],
) -> list[Drawing]:
    """Returns a figure of each head's step over the size of the vocabulary, on log scales."""
    colors = styles(results)
    lines = []
    for head in figures:
        points = [(float(s["classes"]), *values(s)) for s in head["sizes"]]
        lines.append(Series(head["name"], colors[head["name"]], points))
    drawings = line_panels(lines, results["reference"], log_x=True, log_y=True)
    for drawing in drawings:
        drawing.title += f", {unit}"
    return drawings


def _of_growth(sizes: Sequence[int], figures: Sequence[Figures]) -> list[str]:
    """Says how the time of a step grows, from the smallest vocabulary to the largest."""
    grown = {}
    for head in figures:
        times = {s["classes"]: s["seconds"]["estimate"] for s in head["sizes"]}
        if len(sizes) > 1 and sizes[0] in times and sizes[-1] in times:
            grown[head["name"]] = times[sizes[-1]] / times[sizes[0]]
    if not grown:
        return []
    told = ", ".join(f"`{name}` {ratio:.1f}" for name, ratio in grown.items())
    return [
        f"From {sizes[0]:,} to {sizes[-1]:,} synthetic words the median time of a step becomes so "
        f"many times as long (point estimates): {told}."
    ]


def _row(results: Figures, name: str, cells: Sequence[str]) -> str:
    contender = next(c for c in results["contenders"] if c["name"] == name)
    return row(contender, cells, styles(results)[name])


def _limits(interval: Figures, factor: float = 1.0) -> tuple[float, float, float]:
    estimate = factor * interval["estimate"]
    lower, upper = (
        estimate if interval[name] is None else factor * interval[name]
        for name in ("lower", "upper")
    )
    return estimate, lower, upper


def _point(size: Figures) -> Figures:
    # A step without any temporary memory has a place on a logarithmic axis too.
    return {"estimate": max(size["temporary_bytes"], 1), "lower": None, "upper": None}


def _numbers(value: Figures | float | None) -> list[float | None]:
    if isinstance(value, dict):
        return [value[name] for name in ("estimate", "lower", "upper")]
    return [value, None, None]


def _between(interval: Figures | None) -> str:
    if interval is None:
        return "–"
    lower, upper = ("–" if interval[n] is None else f"{interval[n]:.3g}" for n in _LIMITS)
    return f"{interval['estimate']:.3g} [{lower}, {upper}]"


def _last_rank(name: str) -> float:
    """Returns 100 for `11–100`."""
    return float(name.split("–")[1].replace(",", ""))
