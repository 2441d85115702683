"""The report of a run: results.json, the plots as SVG files, and one self-contained page."""

from pathlib import Path
from typing import Any

from experiments.digits import plots, report_tables
from experiments.digits.config import DigitsConfig
from experiments.digits.contenders import chosen_contenders
from experiments.digits.pictures import EXAMPLE, TRIANGLE_SCALE, draw_maps, pictured
from experiments.digits.results import summarise
from experiments.digits.summary import sentences
from experiments.page import (
    environment_facts,
    findings,
    gallery,
    method,
    page,
    provenance,
    section,
    write_plots,
)
from experiments.run_directory import RESULTS, read_run, write_json, write_text
from experiments.svg import Drawing

Figures = dict[str, Any]
_HEADINGS = {
    "learning_curves": "Validation Brier score over the steps (log scale)",
    "bars": "Logits beside what each map makes of them",
    "triangles": "Each map over the 3-class simplex",
    "reliability": "Reliability: share right (up) against confidence (right)",
}


def write_report(path: Path) -> Figures:
    """Writes all that follows from the records of a run, and returns its figures."""
    config, blocks, environment = read_run(path, DigitsConfig)
    results = summarise(config, blocks)
    write_json(path / RESULTS, results)
    done = [c for c in chosen_contenders(config) if c.name in blocks]
    able = [c for c in done if blocks[c.name][-1]["status"] != "failed"]
    bars, triangles = draw_maps(pictured(able))
    drawings = {
        "learning_curves": plots.learning_curves(results),
        "bars": bars,
        "triangles": triangles,
        "reliability": plots.reliability_diagrams(results),
    }
    write_plots(path, {name: (_HEADINGS[name], 6, panels) for name, panels in drawings.items()})
    sections = _sections(path, results, environment, drawings)
    title = f"Softmax variants: {path.name}"
    write_text(path / "report.html", page(title, _facts(results, environment), sections, results))
    return results


def _sections(
    path: Path, results: Figures, environment: Figures, drawings: dict[str, list[Drawing]]
) -> list[str]:
    return [
        section("In short", findings(sentences(results))),
        section("How it was done", _method(results)),
        section("Figures", report_tables.figures(results), "figures"),
        section("Differences", report_tables.differences(results), "differences"),
        gallery("Learning curves", _CURVES, drawings["learning_curves"]),
        gallery("Reliability", _RELIABILITY, drawings["reliability"]),
        gallery("Logits beside probabilities", _bars_text(), drawings["bars"]),
        gallery("The maps over the simplex", _triangles_text(), drawings["triangles"]),
        provenance(path, results["config"], environment),
    ]


def _facts(results: Figures, environment: Figures) -> dict[str, str]:
    config = results["config"]
    model = " – ".join(str(size) for size in (64, *config["hidden"], 10))
    return {
        "Data": "1,797 handwritten digits, 8 × 8 pixels",
        "Model": f"perceptron {model}",
        "Contenders": f"{len(results['contenders'])}, {config['seeds']} seeds each",
        **environment_facts(environment),
    }


def _method(results: Figures) -> str:
    config = results["config"]
    rates = ", ".join(f"{rate:g}" for rate in config["learning_rates"])
    held, validation = (f"{100 * config[k]:g}%" for k in ("test_fraction", "validation_fraction"))
    level = f"{100 * results['confidence']:g}%"
    points = [
        f"Each seed has its own stratified split ({held} test, {validation} validation), initial "
        "weights and order of batches, and all contenders share them: differences are paired.",
        f"Every contender gets the same budget: {config['steps']} {config['optimizer']} steps of "
        f"{config['batch_size']} images at each of the learning rates {rates} "
        f"({config['schedule']} schedule). Each seed takes the rate with the lowest Brier score on "
        "its own validation part; no test image has a part in any choice.",
        "A map with a loss of its own is trained on it. Any other is trained on the negative "
        f"log-likelihood of its output, -log((1 - s) p + s/n) with s = {config['smoothing']:g} "
        "where it has zeros, s = 0 where it has none; at test, the NLL of all has this s. Where p "
        "is exactly 0 this has no gradient, which holds back sparse maps without a loss of their "
        "own. A map that takes no negative score is given the softplus of the logits. "
        "Gumbel-softmax is trained on noisy samples and judged by the softmax they are drawn from.",
        "A row of outputs that sums to more than 1 is divided by its sum; one that sums to less "
        "keeps its gap, as an answer withheld. Classes that tie for the maximum share the hit. ECE "
        "has 15 bins of equal width; support is the mean number of classes above zero.",
        f"Intervals are {level}, Student's t over seeds. Differences to <code>softmax</code> have "
        f"simultaneous {level} intervals for each metric (Bonferroni over {results['comparisons']} "
        "contenders), and better or worse is only said where such an interval leaves out zero. "
        "The training parts of different seeds overlap, so the intervals tell how a result would "
        "vary over splits of these images, and less than how it would over new images.",
        f"Steps per second were measured after training, in {config['speed_rounds']} rounds in "
        "which the contenders took turns, compilation apart; a step trains the models of all seeds "
        "and learning rates. Median, and an interval of order statistics.",
    ]
    return method(points)


_CURVES = (
    "Brier score on the validation part over the steps, at the learning rate that each seed chose: "
    "mean and interval over seeds. Lower is better; the scale is logarithmic. Grey: softmax."
)
_RELIABILITY = (
    "Share of right answers (up) against confidence (right), all seeds together. On the dashed "
    "line a map is as often right as it is sure; below it, it is too sure. The area of a disc is "
    "the share of predictions in its bin; the line passes over bins with less than 1 in 200."
)


def _bars_text() -> str:
    scores = ", ".join(f"{score:g}" for score in EXAMPLE)
    return (
        f"The same five logits ({scores}), grey, and the output of each map with the parameters of "
        "the comparison. A printed 0 is exactly zero."
    )


def _triangles_text() -> str:
    return (
        f"A point of the triangle stands for three logits: {TRIANGLE_SCALE:g} times its "
        "barycentric coordinates less a third. Its colour mixes those of the three classes in "
        "proportion to the output; where mass is missing, the page shows through. Light lines: "
        "the largest probability passes 0.4, 0.5, … 0.9. Dark lines: the set of classes above "
        "zero changes."
    )
