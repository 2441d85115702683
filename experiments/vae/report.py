"""The report of a run on gradient estimators: results.json, the plots, and one page."""

from pathlib import Path
from typing import Any

from experiments.page import (
    Plots,
    findings,
    gallery,
    method,
    section,
    wide,
    write_page,
)
from experiments.run_directory import read_run
from experiments.vae import report_tables
from experiments.vae.config import VaeConfig
from experiments.vae.plots import all_plots
from experiments.vae.results import summarise
from experiments.vae.summary import sentences

Figures = dict[str, Any]


def write_report(path: Path) -> Figures:
    """Writes all that follows from the records of a run, and returns its figures."""
    config, blocks, environment = read_run(path, VaeConfig)
    results = summarise(config, blocks)
    plots = all_plots(results)
    sections = [
        section("In short", findings(sentences(results))),
        section("How it was done", method(_method(results))),
        section("Figures", report_tables.figures(results), "figures"),
        _wide("Test ELBO by temperature", _TEMPERATURES, plots, "temperatures"),
        gallery("Validation ELBO", _CURVES, plots["curves"][2]),
        *_of_gradients(results, plots),
    ]
    title = f"Gradient estimators of a categorical autoencoder: {path.name}"
    write_page(path, title, _facts(results), sections, results, plots, environment)
    return results


def _facts(results: Figures) -> dict[str, str]:
    config = results["config"]
    codes = config["classes"] ** config["latents"]
    return {
        "Data": "1,797 handwritten digits, 8 × 8 pixels, on or off",
        "Codes": f"{codes:,}: {config['latents']} latents of {config['classes']} classes",
        "Training": f"{config['seeds']} seeds, {config['steps']} steps of {config['batch_size']} "
        "images",
        "Estimators": str(len(results["contenders"])),
    }


def _of_gradients(results: Figures, plots: Plots) -> list[str]:
    if not results["gradients"]:
        return []
    return [
        _wide("Bias of the gradient", _BIAS, plots, "bias"),
        _wide("Variance of the gradient", _VARIANCE, plots, "variance"),
        section(
            "Gradients against the exact one", _GRADIENTS + report_tables.gradients(results), "bias"
        ),
    ]


def _wide(title: str, text: str, plots: Plots, name: str) -> str:
    charts = "".join(f"<p><b>{chart.title}</b></p>{wide(chart)}" for chart in plots[name][2])
    return section(title, f"<p>{text}</p>{charts}")


_LINES = (
    "Full lines: relaxed samples; broken lines: straight-through, one-hot forward; grey: the "
    "estimators without a temperature, the broken one without a baseline. Names stand beside the "
    "last point of each line, with its value."
)
_TEMPERATURES = (
    "The exact ELBO of the test images (up is better) by the temperature of training, on a "
    "logarithmic scale, mean and interval over seeds. Grey without breaks: the exact gradient and "
    f"the score function with a baseline. {_LINES}"
)
_CURVES = (
    "Exact ELBO of the validation images (up is better) over the steps, at the learning rate that "
    "each seed chose, from the first evaluation after the start: mean, and interval over seeds. "
    "Grey: the exact gradient. Where a line falls, the model fits the training images alone; "
    "figures are taken where it was highest."
)
_BIAS = (
    "How far the mean gradient of the encoder is from the exact one, relative to the exact one's "
    "length, by temperature; both scales are logarithmic. A point is left out where the Monte "
    f"Carlo interval reaches zero, as it does for the score function, which has no bias. {_LINES}"
)
_VARIANCE = (
    "Total variance of a random gradient of the encoder, relative to the squared length of the "
    f"exact one, by temperature; both scales are logarithmic. {_LINES}"
)
_GRADIENTS = (
    "<p>The gradient of one batch, at the weights of the exact run of the first seed after so many "
    "steps. Bias and variance are relative to the length of the exact gradient and to its square; "
    "a bias after “&lt;” is the upper limit of an interval that reaches zero. Cosine: the mean, of "
    "one random gradient with the exact one.</p>"
)


def _method(results: Figures) -> list[str]:
    config, level = results["config"], f"{100 * results['confidence']:g}%"
    rates = " and ".join(f"{rate:g}" for rate in config["learning_rates"])
    codes = config["classes"] ** config["latents"]
    annealed = (
        f" Annealed runs change the temperature from {config['anneal'][0]:g} to "
        f"{config['anneal'][1]:g}, by the same factor at each step."
        if config["anneal"]
        else ""
    )
    size = min(config["probe_images"], 10**6)
    return [
        "The model: an image has a code z of "
        f"{config['latents']} independent categorical variables with {config['classes']} classes, "
        "uniform a priori; a perceptron with one hidden layer of "
        f"{config['hidden']} gives q(z | x), another one the probability of each pixel to be on. "
        f"Pixels are on where they are at least {config['threshold']:g} of 1.",
        f"There are {codes:,} codes, so that the ELBO, log p(x) and the gradient of the ELBO are "
        "sums over all of them: every ELBO and likelihood here is exact, whatever a model was "
        "trained with, and none is a relaxed bound.",
        f"Every estimator but the exact one draws {config['samples']} codes for each image; all "
        "have the divergence to the prior in closed form. <b>score_function</b> is REINFORCE, "
        "<b>_loo</b> with the mean of the other samples as baseline. <b>gumbel_…</b> decode "
        "softmax, sparsemax or 1.5-entmax of (scores + Gumbel noise) / temperature; <b>st_…</b>, "
        "straight-through, decode the one-hot of the largest, and take the relaxed one’s "
        f"derivative.{annealed}",
        f"A seed has one split ({100 * config['test_fraction']:g}% test, "
        f"{100 * config['validation_fraction']:g}% validation), one set of initial weights and one "
        f"order of the data for all estimators. Each takes {config['steps']} steps of Adam with "
        f"{config['batch_size']} images at each of the learning rates {rates}; a seed takes the "
        "rate and the evaluation with the highest validation ELBO. Without stopping there, an "
        "estimator would gain by fitting the training images less well.",
        f"Intervals are {level}, Student’s t over seeds; differences to the exact gradient are "
        f"paired by seed and simultaneous for each figure (Bonferroni over "
        f"{results['comparisons']} estimators), and better or worse is only said where such an "
        "interval leaves out zero. The parts of different seeds overlap.",
        f"Bias and variance come from {config['draws']:,} random gradients of the first {size} "
        "training images, in 16 groups. The squared bias is the mean product of the errors of two "
        "different groups, which variance does not add to, with the jackknife’s standard error "
        "over groups; the bias’ limits are the roots of its limits.",
    ]
