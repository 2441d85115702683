"""How a run was done, in sentences for its report."""

from typing import Any

from experiments.engine.columns import in_words

Figures = dict[str, Any]


def method_of(results: Figures) -> list[str]:
    """Returns the points on data, budget, intervals and timing."""
    config, level = results["config"], f"{100 * results['confidence']:g}%"
    seeds = len(results["seeds"])
    points = [
        f"{seeds} seed{'s' * (seeds != 1)}, the same for every contender: a seed has one set of "
        "first weights (for what contenders have in common) and one order of the data, so that "
        "differences are paired.",
        _budget(results),
        f"Training: {config['steps']:,} {config['optimizer']} steps of {config['batch_size']:,} "
        f"examples, {config['schedule']} schedule. Test data have a part in no choice.",
        f"Intervals are {level}, Student’s t over seeds. Differences to "
        f"<code>{results['reference']}</code> have simultaneous {level} intervals for each metric "
        f"(Bonferroni over {results['comparisons']} contenders), and better or worse is only said "
        "where such an interval leaves out zero.",
        "A run that failed or diverged stays in the tables, marked. A seed whose loss or gradient "
        "was not finite is lost: it has no figures, and its contender is compared on the other "
        "seeds, where a difference in its favour is not counted.",
    ]
    if config.get("speed_rounds"):
        points.append(
            f"Steps per second were measured after training, in {config['speed_rounds']} rounds in "
            "which the contenders took turns, compilation apart. Median, and an interval of order "
            "statistics."
        )
    return points


def _budget(results: Figures) -> str:
    """Says what tuning every contender got, and whether it was the same for all."""
    config = results["config"]
    counts = {name: b["trials"] for name, b in results["budget"].items()}
    tuned = {n: c for n, c in counts.items() if c}
    chosen = f"the mean of {in_words(results['selected_by'])} on validation data decides"
    if not tuned:
        return (
            "Nothing was tuned: the learning rate is the same for all, in the middle of "
            f"{config['learning_rate_low']:g} to {config['learning_rate_high']:g}."
        )
    steps = config["tuning_steps"] or config["steps"]
    low, high = config["learning_rate_low"], config["learning_rate_high"]
    each = (
        f"{config['tuning_seeds']} seeds and {steps:,} steps each, with learning rates from "
        f"{low:g} to {high:g} on a logarithmic scale and what else a contender tunes"
    )
    trials = sorted(set(tuned.values()))
    if len(trials) == 1 and len(tuned) == len(counts):
        same = f"Every contender was tuned with the same budget: {trials[0]} trials of {each}"
        return f"{same}; {chosen}."
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"Tuning: trials of {each}; {chosen}. Trials by contender: {listed}."
