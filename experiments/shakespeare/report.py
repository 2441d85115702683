"""The report of a comparison: results.json, the plots as SVG files, and one page."""

from html import escape
from pathlib import Path
from typing import Any

from experiments.page import (
    findings,
    gallery,
    method,
    section,
    wide,
    write_page,
)
from experiments.run_directory import read_run
from experiments.shakespeare import plots, report_tables
from experiments.shakespeare.config import ShakespeareConfig
from experiments.shakespeare.results import summarise
from experiments.shakespeare.summary import sentences
from experiments.shakespeare.tables import attention_table

Figures = dict[str, Any]


def write_report(path: Path) -> Figures:
    """Writes all that follows from the records of a run, and returns its figures."""
    config, blocks, environment = read_run(path, ShakespeareConfig)
    results = summarise(config, blocks)
    drawings = plots.sheets(results)
    overview = "".join(wide(panel) for panel in plots.overview(results))
    sections = [
        section("In short", findings(sentences(results))),
        section("How it was done", method(_method(results))),
        section("Quality and speed", overview),
        section("Figures", report_tables.figures(results)),
        *(gallery(*_GALLERIES[name], drawings[name][2]) for name in _GALLERIES if name in drawings),
        section("Attention", f"<pre>{escape(attention_table(results))}</pre>"),
        section("Samples", _samples(results)),
    ]
    title = f"Attention normalisers and output losses: {path.name}"
    write_page(path, title, _facts(results), sections, results, drawings, environment)
    return results


_GALLERIES = {
    "curves": (
        "Loss over steps",
        "The smoothed loss on the whole validation part. The line is the mean over seeds, the band "
        "their range; grey: softmax in both places.",
    ),
    "zeros": (
        "Zeros in the attention",
        "How many weights of visible keys are exactly zero, layer by layer. Models without zeros "
        "are left out.",
    ),
}


def _facts(results: Figures) -> dict[str, str]:
    corpus, config = results["corpus"], results["config"]
    if corpus is None:
        return {}
    parts = corpus["parts"]
    return {
        "Text": corpus["source"],
        "Tokens": f"{parts['training']:,} and {parts['validation']:,}, {corpus['vocabulary']:,} "
        "different",
        "Model": f"{config['layers']} layers, {config['heads']} heads, width {config['width']}, "
        f"context {config['context']}",
        "Training": f"{config['seeds']} seeds, {config['compare_steps']} steps of "
        f"{config['batch_size']} windows",
    }


def _samples(results: Figures) -> str:
    """Returns what each model writes after a new line, with the first seed."""
    return "".join(
        f"<details><summary><code>{escape(c['name'])}</code></summary>"
        f"<pre>{escape(c['sample'])}</pre></details>"
        for c in results["contenders"]
        if c["sample"]
    )


def _method(results: Figures) -> list[str]:
    config = results["config"]
    level = f"{100 * results['confidence']:g}%"
    corpus = results["corpus"] or {"others_share": 0.0}
    return [
        "The model is nanoGPT's: normalisation before attention and perceptron, learned positions, "
        "exact GELU, no biases, embeddings that are the output's weights too. The first nine "
        f"tenths of the text train it, the last tenth validates; {100 * corpus['others_share']:.2f}"
        "% of the tokens are rare characters that count as one.",
        f"AdamW with a rate of {config['learning_rate']:g} after a warm-up, which falls to "
        f"{config['min_learning_rate']:g} by half a cosine over the {config['compare_steps']} "
        "steps; weight decay on matrices only; gradients of a norm over "
        f"{config['clip']:g} are scaled down. Nothing is tuned for a model: rates are those that "
        "are usual for softmax.",
        "A seed has one set of initial weights and one order of windows for all models, so that "
        "differences are paired. A learned alpha begins at 1.5, and 1 + sigmoid keeps it between 1 "
        "and 2; SSMax's scale begins where its mean over positions is that of softmax.",
        "Every figure is over the whole validation part, cut into windows of the context's length "
        "that do not overlap: each token is predicted once, from what its window has before it.",
        "A sparse output can give a label probability 0, and then its log-likelihood is infinite. "
        "All outputs are therefore compared by a smoothed one, that of (p + ε) / (1 + ε classes) "
        f"with ε = {config['epsilon']:g}, as in ε-perplexity (Martins, Marinho and Martins, "
        "<cite>Sparse Text Generation</cite>, 2020), and by accuracy. Bits a character are exact.",
        f"Intervals are {level}, Student's t over seeds, simultaneous for the differences "
        "(Bonferroni). The text is the same for all seeds.",
        f"Speed was measured after training in {config['speed_rounds']} rounds in which the models "
        "took turns, compilation and evaluation apart; medians.",
    ]
