"""What the figures of a run show, in words: nothing is said that an interval does not carry."""

from typing import Any

from experiments.vae.contenders import SCORE_FUNCTION
from experiments.vae.tables import bias_text
from experiments.wording import interval, verdicts

Figures = dict[str, Any]


def sentences(results: Figures) -> list[str]:
    """Returns the findings; names stand between backquotes."""
    contenders = results["contenders"]
    reference = next((c for c in contenders if c["name"] == results["reference"]), None)
    found = []
    if reference and reference["metrics"]["elbo"]:
        metrics = reference["metrics"]
        found.append(
            f"With the exact gradient the test ELBO is {interval(metrics['elbo'], digits=2)} nats "
            f"an image, and log p(x) {interval(metrics['log_likelihood'], digits=2)}; both are "
            "summed over all codes."
        )
    compared = [c for c in contenders if c["differences"]]
    if compared:
        for metric, name in (("elbo", "test ELBO"), ("log_likelihood", "test log p(x)")):
            shown = verdicts({c["name"]: c["differences"][metric] for c in compared})
            found.append(f"In {name}, against `{results['reference']}`: {shown}.")
        best = max(compared, key=lambda c: float(c["metrics"]["elbo"]["estimate"]))
        found.append(
            f"Of the estimators `{best['name']}` has the highest mean test ELBO by estimate, "
            f"{interval(best['metrics']['elbo'], digits=2)}; on the training images "
            f"{interval(best['metrics']['train_elbo'], digits=2)}."
        )
    found += _unbiased(results)
    found += _trade(results)
    return [*found, *_endings(results)]


def _unbiased(results: Figures) -> list[str]:
    """Says whether the score function's measured bias may be zero everywhere."""
    found = []
    for method in results["gradients"]:
        if method["method"] in SCORE_FUNCTION and method["temperatures"]:
            biases = [p["encoder"]["bias"] for p in method["temperatures"][0]["probes"]]
            zero = sum(not bias["lower"] for bias in biases)
            limit = max(float(bias["upper"]) for bias in biases)
            found.append(
                f"`{method['method']}`, unbiased by construction: the interval of the encoder's "
                f"bias reaches zero at {zero} of {len(biases)} places, with {limit:.2g} of the "
                "exact gradient's length as the largest upper limit."
            )
    return found


def _trade(results: Figures) -> list[str]:
    """Says how bias and variance change from the highest to the lowest temperature."""
    found = []
    for method in results["gradients"]:
        entries = [e for e in method["temperatures"] if e["temperature"] is not None]
        if len(entries) < 2:
            continue
        entries = sorted(entries, key=lambda e: float(e["temperature"]))
        cold, hot = (entries[i]["probes"][-1]["encoder"] for i in (0, -1))
        low, high = (f"{entries[i]['temperature']:g}" for i in (0, -1))
        found.append(
            f"`{method['method']}` at the end of the exact run, from temperature {high} to {low}: "
            f"bias {bias_text(hot['bias'])} to {bias_text(cold['bias'])}, variance "
            f"{interval(hot['variance'], digits=2)} to {interval(cold['variance'], digits=2)}, of "
            "the exact gradient's length and its square."
        )
    return found


def _endings(results: Figures) -> list[str]:
    named = [(c["name"], c) for c in results["contenders"] if c["status"] != "trained"]
    named += [
        (f"gradient of {m['method']}", m) for m in results["gradients"] if m["status"] == "failed"
    ]
    return [f"`{name}` {found['status']}: {found['why']}." for name, found in named]
