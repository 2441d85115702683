"""The test NLL by the frequency of the word, and what each head has more or less than full."""

from collections.abc import Mapping
from typing import Any

from experiments.engine.config import Blocks
from experiments.engine.differences import differences
from experiments.run_directory import Record
from experiments.statistics import mean_with_error

Figures = dict[str, Any]


def frequency_figures(results: Figures, blocks: Blocks) -> list[Figures]:
    """Returns for each contender the NLL of each bucket, and its difference to the reference's.

    Differences are paired by seed, and hold for all contenders and buckets at once.
    """
    tests = {
        c["name"]: {
            r["seed"]: r["buckets"]
            for r in blocks[c["name"]]
            if r["kind"] == "test" and r["seed"] not in c["lost"]
        }
        for c in results["contenders"]
    }
    names = next((list(b) for of_seeds in tests.values() for b in of_seeds.values()), [])
    reference = tests.get(results["reference"], {})
    comparisons = max(len(tests) - 1, 1) * max(len(names), 1)
    found = []
    for name, of_seeds in tests.items():
        against = {} if name == results["reference"] else reference
        found.append(
            {
                "name": name,
                "buckets": [
                    _bucket(bucket, of_seeds, against, results["confidence"], comparisons)
                    for bucket in names
                ],
            }
        )
    return found


def _bucket(
    name: str,
    own: Mapping[int, Record],
    other: Mapping[int, Record],
    confidence: float,
    comparisons: int,
) -> Figures:
    values = [b[name]["nll"] for b in own.values() if b[name]["nll"] is not None]
    of_own, of_other = (
        {seed: {"metrics": {name: b[name]["nll"]}} for seed, b in side.items()}
        for side in (own, other)
    )
    compared = differences(of_own, of_other, {name: "lower"}, confidence, comparisons)
    return {
        "name": name,
        "nll": mean_with_error(values, confidence) if values else None,
        "difference": compared.get(name),
        "words": next((b[name]["words"] for b in own.values()), 0),
    }
