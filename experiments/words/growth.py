"""How the time and the memory of a step grow with the vocabulary."""

from typing import Any

from experiments.engine.config import Blocks
from experiments.statistics import median_interval
from experiments.words.scaling import block_name

Figures = dict[str, Any]


def growth_figures(results: Figures, blocks: Blocks) -> list[Figures]:
    """Returns for each head the sizes at which it was measured, with time and memory."""
    found: dict[str, Figures] = {}
    level = results["confidence"]
    for classes in results["config"]["scaling"]:
        times: dict[str, list[float]] = {}
        memory: dict[str, Figures] = {}
        for record in blocks.get(f"more/{block_name(classes)}", ()):
            if record["kind"] == "speed":
                times.setdefault(record["contender"], []).append(1.0 / record["steps_per_second"])
            elif record["kind"] == "memory":
                memory[record["contender"]] = {n: record[n] for n in _MEMORY}
        for name, of_rounds in times.items():
            size = {"classes": classes, "seconds": median_interval(of_rounds, level).to_json()}
            found.setdefault(name, {"name": name, "sizes": []})
            found[name]["sizes"].append({**size, **memory[name]})
    return list(found.values())


_MEMORY = ("temporary_bytes", "head_bytes")
