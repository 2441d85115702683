"""The tables that `compare` prints; every line fits in 118 columns."""

from typing import Any

from experiments.measured import layout, plus_minus

Figures = dict[str, Any]
_MARKS = {"better": "+", "worse": "-", "no difference shown": " "}


def all_tables(results: Figures) -> list[str]:
    """Returns a table for each task, and one over the sizes of a synthetic vocabulary."""
    made = [task_table(results, task) for task in results["tasks"]]
    return [*made, scaling_table(results)] if any(h["sizes"] for h in results["scaling"]) else made


def task_table(results: Figures, task: Figures) -> str:
    """Returns the quality and the cost of each head on one task."""
    config, level = results["config"], f"{100 * results['confidence']:g}%"
    header = [task["name"], "test NLL", "minus full", "perplexity", "words/s", "speed", "s to NLL*"]
    header += ["temp MB", "head MB", "rate"]
    rows = [_row(contender) for contender in task["contenders"]]
    notes = [
        f"± {level} interval over {config['seeds']} seeds (Student t); minus full: paired by seed, "
        f"simultaneous over {task['comparisons']} heads (Bonferroni),",
        "+ better, - worse, no mark: the interval covers zero, which shows no difference. NLL in "
        "nats, exact for every head.",
        f"words/s: median of {config['speed_rounds']} interleaved rounds; speed: steps over those "
        "of full in the same round.",
    ]
    if task["quality"] is not None:
        notes.append(
            f"s to NLL*: training seconds to a validation NLL of {task['quality']:.3f}, that of "
            f"full after {100 * config['quality']:g}% of its steps."
        )
    ended = [c for c in task["contenders"] if c["status"] != "trained"]
    notes += [f"!! {c['name']} ({c['status']}): {c['why'][:100]}" for c in ended]
    return "\n".join([layout(header, rows), *notes])


def scaling_table(results: Figures) -> str:
    """Returns the milliseconds of a step, and its temporary memory, over sizes."""
    sizes = results["config"]["scaling"]
    header = ["skipgram, synthetic words"]
    header += [f"{text} V={size:,}" for text in ("ms", "MB") for size in sizes]
    rows = []
    for head in results["scaling"]:
        found = {size["classes"]: size for size in head["sizes"]}
        times = [found[s]["seconds"]["estimate"] * 1e3 if s in found else None for s in sizes]
        memory = [found[s]["temporary_bytes"] / 1e6 if s in found else None for s in sizes]
        rows.append([head["name"], *(_number(v, 2) for v in (*times, *memory))])
    note = "ms: median time of a step; MB: its temporary memory. –: left out, see scaling_logits."
    return "\n".join([layout(header, rows), note])


def _row(contender: Figures) -> list[str]:
    difference = contender["difference"]
    mark = f" {_MARKS[difference['verdict']]}" if difference else ""
    ratio, words = contender["speed_ratio"], contender["words_per_second"]
    rate = contender["learning_rate"]
    return [
        contender["name"] + ("" if contender["status"] == "trained" else " !!"),
        plus_minus(contender["nll"], 1.0, 3),
        plus_minus(difference, 1.0, 3, "+") + mark,
        _number(contender["perplexity"], 1),
        "–" if words is None else f"{words['estimate']:,.0f}",
        "–" if ratio is None else f"{ratio['estimate']:.1f}x",
        _number(contender["seconds_to_quality"], 2),
        _number(_million(contender["temporary_bytes"]), 1),
        _number(_million(contender["head_bytes"]), 1),
        "–" if rate is None else f"{rate:g}",
    ]


def _million(count: float | None) -> float | None:
    return None if count is None else count / 1e6


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
