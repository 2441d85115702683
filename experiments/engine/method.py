"""How a run was done, in sentences for its report."""

from typing import Any

from experiments.engine.columns import in_words

Figures = dict[str, Any]


def method_of(results: Figures) -> list[str]:
    """Returns the points on data, budget, intervals and timing."""
    config, level = results["config"], f"{100 * results['confidence']:g}%"
    seeds = len(results["seeds"])
    points = [
        f"{seeds} seed{'s' * (seeds != 1)}, the same for every contender: a seed fixes the data, "
        "their order and where training starts, in all that contenders have in common, so that "
        "differences are paired.",
        _budget(results),
        f"Training: {training_of(config)}. No candidate is chosen on test data.",
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
            "which the contenders took turns, compilation apart. Ratios to the reference are taken "
            "within a round, with simultaneous intervals of their logarithms (Student’s t)."
        )
    return points


def training_of(config: Figures) -> str:
    """Says what every model was trained with; early runs have it in single fields only."""
    plain = f"{config['steps']:,} steps of {config['batch_size']:,} examples"
    return str(config.get("training", plain))


def _budget(results: Figures) -> str:
    """Says what tuning every contender got, and whether it was the same for all."""
    config = results["config"]
    low, high = config["learning_rate_low"], config["learning_rate_high"]
    if config["trials"] == 1:
        middle = f"the learning rate is the middle of {low:g} to {high:g} for all, and "
        rate, else_ = (middle, " else") if low < high else ("", "")
        return f"Nothing was tuned: {rate}what{else_} would be tuned is in the middle of its range."
    steps = config["tuning_steps"] or config["steps"]
    rates = f"learning rates from {low:g} to {high:g} on a logarithmic scale and what else"
    whose = "every contender" if low < high else "every contender with something to choose"
    said = (
        f"The budget of tuning is the same for {whose}: {config['trials']} trials of "
        f"{config['tuning_seeds']} seeds and {steps:,} steps each, with "
        f"{rates if low < high else 'what'} a contender tunes; the mean of "
        f"{in_words(results['selected_by'])} on validation data decides."
    )
    fixed = len(results["contenders"]) - len(results["budget"])
    if fixed:
        said += f" {fixed} contenders have nothing to choose."
    counts = {name: budget["trials"] for name, budget in results["budget"].items()}
    other = [f"{name} {count}" for name, count in counts.items() if count != config["trials"]]
    records = f" Another number of trials is in the records of {', '.join(other)}."
    return said + records if other else said
