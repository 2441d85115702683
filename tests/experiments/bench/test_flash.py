"""The command that times blockwise attention: ratios of the same rounds, and missed targets."""

import math

from experiments.bench.flash import SOFTMAX, contenders, missed, records_of, table
from experiments.timing import Timing


def test_ratios_are_those_of_the_same_rounds_and_misses_are_marked() -> None:
    chosen = contenders(heads=2)
    # The second round is three times as slow for all: no ratio shows it.
    times = {c.key: (1.0 if c.plain else 1.5) * (0.5 if c.causal else 1.0) for c in chosen}
    timings = {key: [Timing([t], [0]), Timing([3 * t], [0])] for key, t in times.items()}
    memory = {c.key: 1000 if c.plain else 90 for c in chosen}
    compiled = {k: {"temporary_bytes": m, "compile_seconds": 1.0} for k, m in memory.items()}
    records = records_of(chosen, timings, compiled, targets=True)
    by_key = {(r["name"], r["causal"]): r for r in records}
    soft, sparse = by_key["flash, alpha 1", False], by_key["flash, alpha 1.5", False]
    assert math.isclose(soft["to_plain_softmax"], 1.5)
    assert math.isclose(soft["milliseconds"], 3000)
    assert missed(soft)
    assert not missed(sparse)
    assert missed(sparse | {"memory_to_plain_softmax": 0.2})
    assert by_key["flash, alpha 2", False]["to_plain_same_alpha"] is None
    assert math.isclose(by_key["flash, alpha 1", True]["to_all_keys"], 0.5)
    assert not any(missed(r) for r in records if r["causal"] or r["name"] == SOFTMAX)
    assert "!1.50" in table([soft, sparse])
    assert not any(map(missed, records_of(chosen, timings, compiled, targets=False)))
