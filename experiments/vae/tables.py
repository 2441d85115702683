"""The tables that `compare` prints; every line fits in 118 columns."""

from typing import Any

from experiments.charts import significant
from experiments.measured import layout, plus_minus

Figures = dict[str, Any]
_MARKS = {"better": "+", "worse": "-", "no difference shown": " "}


def all_tables(results: Figures) -> list[str]:
    """Returns the table of the estimators, and that of their gradients."""
    tables = [main_table(results)]
    return [*tables, gradient_table(results)] if results["gradients"] else tables


def main_table(results: Figures) -> str:
    """Returns the exact figures of every model, and how they differ from the reference's."""
    config, level = results["config"], f"{100 * results['confidence']:g}%"
    header = ["", "test ELBO", "minus exact", "test log p(x)", "minus exact", "train ELBO"]
    header += ["codes"]
    rows = [_row(contender) for contender in results["contenders"]]
    notes = [
        f"± {level} interval over {config['seeds']} seeds (Student t), nats an image; exact sums "
        "over all codes for every estimator.",
        f"minus exact: paired by seed, simultaneous over {results['comparisons']} estimators "
        "(Bonferroni); + better, - worse, no mark: neither shown.",
        "codes: how many are in use (perplexity of the mean q(z | x)). A seed's rate and step "
        "maximise the validation ELBO.",
    ]
    bad = [c for c in results["contenders"] if c["status"] != "trained"]
    notes += [f"!! {c['name']} ({c['status']}): {c['why'][:100]}" for c in bad]
    return "\n".join([layout(header, rows), *notes])


def gradient_table(results: Figures) -> str:
    """Returns bias and variance of the encoder's gradient along the exact run."""
    steps = results["probe_steps"]
    header = ["encoder's gradient"]
    header += [f"{name} @{step}" for name in ("bias", "variance") for step in steps]
    rows = []
    for method in results["gradients"]:
        for entry in method["temperatures"]:
            moments = [probe["encoder"] for probe in entry["probes"]]
            row = [label(method["method"], entry["temperature"])]
            row += [bias_text(m["bias"]) for m in moments]
            row += [_plain(m["variance"]) for m in moments]
            rows.append(row)
    level = f"{100 * results['confidence']:g}%"
    notes = [
        "Of one batch, at the weights of the exact run @ so many steps. bias: length of the mean "
        "error over that of the exact",
        f"gradient, ± half its {level} Monte Carlo interval, < the upper limit if it reaches 0; "
        "variance: total, over the square;",
        f"{results['config']['draws']:,} draws each.",
    ]
    notes += [
        f"!! {method['method']} (failed): {method['why'][:100]}"
        for method in results["gradients"]
        if method["status"] == "failed"
    ]
    return "\n".join([layout(header, rows), *notes])


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


def _row(contender: Figures) -> list[str]:
    metrics = contender["metrics"]
    return [
        contender["name"] + ("" if contender["status"] == "trained" else " !!"),
        plus_minus(metrics["elbo"], 1.0, 2),
        _difference(contender, "elbo"),
        plus_minus(metrics["log_likelihood"], 1.0, 2),
        _difference(contender, "log_likelihood"),
        _number(metrics["train_elbo"], "{:.2f}"),
        _number(metrics["codes"], "{:.0f}"),
    ]


def _difference(contender: Figures, metric: str) -> str:
    if not contender["differences"]:
        return "–"
    difference = contender["differences"][metric]
    return f"{plus_minus(difference, 1.0, 2, '+')} {_MARKS[difference['verdict']]}"


def _plain(interval: Figures) -> str:
    return "–" if interval["estimate"] is None else significant(interval["estimate"])


def _number(interval: Figures | None, form: str) -> str:
    if interval is None or interval["estimate"] is None:
        return "–"
    return form.format(interval["estimate"])
