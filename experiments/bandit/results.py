"""From the records of a run to its figures: the only place where they are computed."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats

from experiments.bandit.checks import book_checks
from experiments.bandit.config import BanditConfig
from experiments.bandit.contenders import REFERENCE, Contender, chosen_contenders
from experiments.base_config import to_json
from experiments.run_directory import Record
from experiments.statistics import mean_interval, paired_difference, verdict

Blocks = Mapping[str, Sequence[Record]]
# Each figure of a problem, and which direction is better.
METRICS: dict[str, Literal["higher", "lower"]] = {
    "reward": "higher",
    "late_reward": "higher",
    "late_optimal": "higher",
    "regret": "lower",
}


def summarise(config: BanditConfig, blocks: Blocks) -> dict[str, Any]:
    """Returns all figures of a run, ready for JSON; they depend on its records alone."""
    contenders = [c for c in chosen_contenders(config) if c.name in blocks]
    problems = {
        c.name: blocks[c.name][1] for c in contenders if blocks[c.name][-1]["status"] == "finished"
    }
    # The oracle is the ceiling, and no way of selecting actions without knowing them.
    compared = [c for c in contenders if c.name in problems and c.family != "oracle"]
    comparisons = max(len(compared) - 1, 0)
    return {
        "config": to_json(config),
        "reference": REFERENCE,
        "confidence": config.confidence,
        "comparisons": comparisons,
        "contenders": [_figures(config, blocks, problems, c, comparisons) for c in contenders],
        "checks": book_checks(config, problems),
    }


def _figures(
    config: BanditConfig,
    blocks: Blocks,
    problems: Mapping[str, Record],
    contender: Contender,
    comparisons: int,
) -> Record:
    outcome = blocks[contender.name][-1]
    mine = problems.get(contender.name)
    metrics: Record = dict.fromkeys(METRICS)
    if mine is not None:
        metrics = {n: mean_interval(mine[n], config.confidence).to_json() for n in METRICS}
    return {
        "name": contender.name,
        "group": contender.group,
        "family": contender.family,
        "parameter": contender.parameter,
        "formula": contender.formula,
        "reference": contender.reference,
        "status": outcome["status"],
        "why": outcome["why"],
        "seconds": outcome.get("seconds"),
        "metrics": metrics,
        "differences": _differences(config, problems, contender, comparisons),
        "curves": _curves(config, blocks[contender.name][0]) if mine is not None else None,
    }


def _differences(
    config: BanditConfig, problems: Mapping[str, Record], contender: Contender, comparisons: int
) -> Record:
    """Compares with the reference problem by problem, unless one of the two has no figures."""
    name = contender.name
    if name == REFERENCE or contender.family == "oracle" or not {name, REFERENCE} <= set(problems):
        return {}
    found: Record = {}
    for metric, better in METRICS.items():
        values, reference = problems[name][metric], problems[REFERENCE][metric]
        difference = paired_difference(values, reference, config.confidence, comparisons)
        found[metric] = {**difference.to_json(), "verdict": verdict(difference, better)}
    return found


def _curves(config: BanditConfig, record: Record) -> Record:
    """Returns the mean over the problems at each point, and the limits of its interval."""
    quantile = stats.t.ppf(0.5 + config.confidence / 2.0, config.problems - 1)
    found: Record = {"step": record["step"]}
    for name in ("reward", "optimal", "regret"):
        mean, deviation = (np.asarray(record[name][key]) for key in ("mean", "deviation"))
        half = quantile * deviation / np.sqrt(config.problems)
        limits = {"estimate": mean, "lower": mean - half, "upper": mean + half}
        found[name] = {key: np.round(values, 6).tolist() for key, values in limits.items()}
    return found
