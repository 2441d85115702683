"""The report of a run: results.json, one self-contained page, Markdown, CSV, and SVG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.engine import report_tables, side_by_side, tables
from experiments.engine.columns import is_timed
from experiments.engine.drawings import Drawings, draw
from experiments.engine.extras import Part
from experiments.engine.method import method_of, training_of
from experiments.engine.results import chosen, summarise
from experiments.engine.summary import sentences
from experiments.errors import UserError
from experiments.page import (
    environment_facts,
    findings,
    gallery,
    method,
    panels,
    section,
    switch,
    wide,
    write_page,
)
from experiments.run_directory import (
    CONFIG,
    ENVIRONMENT,
    METRICS,
    RESULTS,
    Record,
    expect_engine_run,
    read_config,
    read_json,
    read_numbered,
    write_json,
    write_text,
)
from experiments.svg import Drawing

Figures = dict[str, Any]
# What the blocks of an experiment's own measurements begin with.
_MORE = "more/"


class Run(NamedTuple):
    """A run of the engine as it is read: its figures, and the single records they come from.

    Attributes:
      path: The run directory.
      results: The figures.
      environment: What env.json holds.
      tests: The records of the tests of each contender, each with its line in metrics.jsonl.
      more: The records of each measurement besides, by its block, with their lines as well.
    """

    path: Path
    results: Figures
    environment: Record
    tests: Mapping[str, Sequence[Record]]
    more: Mapping[str, Sequence[Record]]


def read_run(path: Path) -> Run:
    """Reads a run of the engine and computes its figures."""
    expect_engine_run(path)
    config = read_json(path / CONFIG)
    blocks, lines = read_numbered(path / METRICS)
    environment = read_json(path / ENVIRONMENT) if (path / ENVIRONMENT).exists() else {}
    placed = {
        name: [{**r, "line": line} for r, line in zip(block, lines[name], strict=True)]
        for name, block in blocks.items()
    }
    tests = {
        name: [record for record in placed[name] if record["kind"] == "test"]
        for name in chosen(config)
        if name in blocks
    }
    more = {name: block for name, block in placed.items() if name.startswith(_MORE)}
    return Run(path, summarise(config, blocks), environment, tests, more)


def write_report(path: Path) -> list[str]:
    """Writes all that follows from the records of a run; returns its tables for the terminal."""
    run, parts = read_run(path), parts_of(path)
    results = run.results | {"more": {part.name: part.figures for part in parts if part.figures}}
    drawings = draw(results)
    facts = _facts(results)
    title = f"{results['experiment']}: {path.name}"
    plots = drawings.sheets(results) | {
        name: (part.title, 1, [drawn]) if isinstance(drawn, Drawing) else (part.title, 5, drawn)
        for part in parts
        for name, drawn in part.drawings.items()
    }
    sections = _sections(run, drawings, parts)
    write_page(path, title, facts, sections, results, plots, run.environment)
    facts |= environment_facts(run.environment)
    write_text(path / "report.md", _markdown(title, facts, results, parts))
    (path / "tables").mkdir(exist_ok=True)
    files = tables.csv_tables(results)
    for part in parts:
        files |= part.tables
    for name, text in files.items():
        write_text(path / "tables" / name, text)
    return [*tables.all_tables(results), *(part.markdown for part in parts if part.markdown)]


def parts_of(path: Path) -> list[Part]:
    """Returns what the experiment of a run adds to its report."""
    blocks, _ = read_numbered(path / METRICS)
    return list(read_config(path).parts(summarise(read_json(path / CONFIG), blocks), blocks))


def report_runs(paths: Sequence[Path], out: Path) -> list[str]:
    """Writes the report of several runs beside each other; returns tables for the terminal.

    The report of each run is made anew as well: the page's numbers lead there.

    Args:
      paths: At least two run directories.
      out: A directory for the page and its tables, new or with an earlier report of this kind.
    """
    if (out / CONFIG).exists():
        raise UserError(f"--out: {str(out)!r} is a run, expected a directory for the report")
    resolved = [path.resolve() for path in paths]
    twice = next((p for p, r in zip(paths, resolved, strict=True) if resolved.count(r) > 1), None)
    if twice is not None:
        raise UserError(f"report: {str(twice)!r} is given twice")
    read = [read_run(path) for path in paths]
    for path in paths:
        write_report(path)
    names = side_by_side.names_of(paths)
    runs = [
        side_by_side.Named(name, run.path, run.results, run.environment)
        for name, run in zip(names, read, strict=True)
    ]
    (out / "tables").mkdir(parents=True, exist_ok=True)
    write_json(out / RESULTS, side_by_side.together(runs))
    write_text(out / "report.html", side_by_side.html(runs, out))
    write_text(out / "report.md", side_by_side.markdown(runs))
    write_text(out / "tables" / "figures.csv", side_by_side.figures_csv(runs))
    return side_by_side.terminal(runs)


def _sections(run: Run, drawings: Drawings, parts: Sequence[Part]) -> list[str]:
    results = run.results
    level = f"{100 * results['confidence']:g}%"
    note = (
        f"<p>Mean ± half the {level} interval over seeds, and the standard error in brackets; in "
        "square brackets how many seeds, where some were lost. Press a heading to sort; a number "
        "leads to the records it comes from.</p>"
    )
    learned = report_tables.learned(results)
    return [
        section("In short", findings(_findings(results, parts))),
        section("How it was done", method(method_of(results))),
        section("Figures", note + report_tables.figures(results), "figures"),
        section("Differences", report_tables.differences(results), "differences"),
        *_of_curves(drawings),
        *(
            section(p.title, p.body + "".join(map(_drawn, p.drawings.values())), p.name)
            for p in parts
        ),
        *_switched("Quality against cost", "pareto", _PARETO, drawings.pareto),
        *_switched("Quality against the rest", "against", _AGAINST, drawings.against),
        section("Cost and tuning", _costs(results), "costs"),
        *([gallery("Tuning", _TUNING, drawings.tuning)] if drawings.tuning else []),
        *(
            [gallery("Calibration", _CALIBRATION, drawings.calibration)]
            if drawings.calibration
            else []
        ),
        *([section("Learned parameters", learned, "learned")] if learned else []),
        *(
            [gallery("Scores beside outputs", drawings.bars_text, drawings.bars)]
            if drawings.bars
            else []
        ),
        *(
            [gallery("The maps over the simplex", drawings.triangles_text, drawings.triangles)]
            if drawings.triangles
            else []
        ),
        section("Records", _records(run), "records"),
    ]


def _records(run: Run) -> str:
    measured = f"<p>{_MEASUREMENTS}</p>{report_tables.measurements(run.more)}" if run.more else ""
    return f"<p>{_RECORDS}</p>{report_tables.records(run.results, run.tests)}{measured}"


def _costs(results: Figures) -> str:
    return f"<p>{_TIMED if is_timed(results) else ''}{_COSTS}</p>{report_tables.speed(results)}"


def _findings(results: Figures, parts: Sequence[Part]) -> list[str]:
    return [*sentences(results), *(sentence for part in parts for sentence in part.findings)]


def _of_curves(drawings: Drawings) -> list[str]:
    if not drawings.curves:
        return []
    shown = {}
    for number, (metric, axes) in enumerate(drawings.curves.items()):
        choices = {axis: _shown(found) for axis, found in axes.items()}
        shown[metric] = switch(f"axis{number}", choices)
    return [section("Curves", f"<p>{_CURVES}</p>{switch('curve', shown)}", "curves")]


def _switched(
    title: str, name: str, text: str, charts: Mapping[str, Mapping[str, Drawing]]
) -> list[str]:
    """Returns a part with one chart of two choices, or nothing where there is no chart."""
    if not charts:
        return []
    inner = {
        outer: switch(f"{name}{i}", {label: wide(chart) for label, chart in choices.items()})
        for i, (outer, choices) in enumerate(charts.items())
    }
    return [section(title, f"<p>{text}</p>{switch(name, inner)}", name)]


def _drawn(drawing: Drawing | Sequence[Drawing]) -> str:
    return wide(drawing) if isinstance(drawing, Drawing) else panels(drawing)


def _shown(drawings: Sequence[Drawing]) -> str:
    return wide(drawings[0]) if len(drawings) == 1 and drawings[0].width > 300 else panels(drawings)


def _facts(results: Figures) -> dict[str, str]:
    config = results["config"]
    seeds = len(results["seeds"])
    return {
        "Experiment": results["experiment"],
        "Contenders": f"{len(results['contenders'])}, {seeds} seed{'s' * (seeds != 1)} each",
        "Training": training_of(config),
    }


def _markdown(title: str, facts: Mapping[str, str], results: Figures, added: Sequence[Part]) -> str:
    shown = tables.markdown(results)
    parts = [f"# {title}", "\n".join(f"- {name}: {value}" for name, value in facts.items())]
    parts += ["## In short", "\n".join(f"- {text}" for text in _findings(results, added))]
    parts += ["## Figures", shown[0]]
    if len(shown) > 1:
        parts += [f"## Differences to {results['reference']}", shown[1]]
    notes = tables.endings(results)
    parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
    for part in added:
        parts += [f"## {part.title}", part.markdown] if part.markdown else []
    parts += ["Intervals and their meaning: `report.html`. Values: `tables/*.csv`, `results.json`."]
    return "\n\n".join(parts) + "\n"


_CURVES = (
    "Mean over seeds and its interval, on data that no step was trained on (the training loss: on "
    "the batches). A line ends with a red cross where a seed was lost: a mean of the others would "
    "jump. Seconds are of all seeds together, without evaluation; FLOPs are of one model, as XLA "
    "counts them."
)
_PARETO = (
    "Each dot is a contender with the interval of its quality; a cost is lower to the left. The "
    "broken line joins those that no other beats in both by estimate: whether two of them differ "
    "is in the table of differences. A cross lost seeds, and is not joined. Where there is no room "
    "for a name, the pointer shows it."
)
_AGAINST = (
    "A metric without a better direction, such as the number of classes above zero (support), "
    "against the quality: intervals are of the quality."
)
_TIMED = (
    "Steps per second: the median of rounds in which the contenders took turns, and an interval "
    "of order statistics. The ratio is to the reference in the same round: its geometric mean, "
    "with an interval that holds for all contenders at once. "
)
_COSTS = (
    "A step trains all seeds. FLOPs are those of one model, as XLA counts them; temporary memory "
    "is what a step needs besides its arguments."
)
_TUNING = (
    "The mean validation score of each trial by its learning rate, on a logarithmic scale; the "
    "large dot was chosen, a red cross lost a seed."
)
_CALIBRATION = (
    "Share of right answers (up) against confidence (right), all seeds together. On the dashed "
    "line a model is as often right as it is sure; below it, it is too sure. The area of a disc is "
    "the share of predictions in its bin; the line passes over bins with less than 1 in 200."
)
_RECORDS = (
    "The single runs, seed by seed, and the line of <code>metrics.jsonl</code> that each stands in."
)
_MEASUREMENTS = "What was measured besides, and belongs to no single run, line by line."
