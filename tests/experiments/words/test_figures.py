"""What the report on words adds claims nothing that its records do not carry."""

from typing import Any

import pytest

from experiments.words.frequency_table import frequency_figures
from experiments.words.quality import quality_figures


def of_frequency(own: dict[int, float], lost: list[int]) -> str:
    """The verdict on a head beside full, whose seeds 0 to 2 have an NLL of 2, 2.1 and 2.2."""
    full = {0: 2.0, 1: 2.1, 2: 2.2}

    def block(nlls: dict[int, float]) -> list[dict[str, Any]]:
        return [
            {"kind": "test", "seed": seed, "buckets": {"1–10": {"nll": nll, "words": 5}}}
            for seed, nll in nlls.items()
        ]

    results = {
        "contenders": [{"name": "full", "lost": []}, {"name": "x", "lost": lost}],
        "reference": "full",
        "confidence": 0.95,
    }
    figures = frequency_figures(results, {"full": block(full), "x": block(own)})
    return str(figures[1]["buckets"][0]["difference"]["verdict"])


@pytest.mark.parametrize(
    ("shift", "lost", "expected"),
    [
        (0.5, [], "worse"),
        (-0.5, [], "better"),
        (1e-7, [], "no difference shown"),
        (-0.5, [2], "survivors only"),
        (0.5, [2], "worse"),
    ],
)
def test_a_verdict_by_frequency_has_the_guards_of_all_others(
    shift: float, lost: list[int], expected: str
) -> None:
    nlls = {0: 2.0 + shift, 1: 2.1 + 1.01 * shift, 2: 2.2 + shift}
    assert of_frequency(nlls, lost) == expected


def of_quality(curves: dict[str, list[float]], quality: float) -> Any:
    """The figures of heads that are evaluated after 100 and 200 steps, alike in two seeds."""
    names = list(curves)
    blocks: dict[str, list[dict[str, Any]]] = {
        f"{name}/{step}": [
            {
                "kind": "evaluation",
                "contender": name,
                "seed": seed,
                "step": step,
                "validation": {"nll": nll + 0.001 * seed},
            }
            for seed in (0, 1)
        ]
        for name, nlls in curves.items()
        for step, nll in zip((100, 200), nlls, strict=True)
    }
    blocks["speed"] = [
        {"kind": "speed", "contender": name, "round": turn, "steps_per_second": 10.0 + 0.01 * turn}
        for name in names
        for turn in range(4)
    ]
    rate = {"estimate": 10.0, "lower": 9.9, "upper": 10.1}
    results = {
        "contenders": [{"name": n, "lost": [], "steps_per_second": rate} for n in names],
        "reference": names[0],
        "seeds": [0, 1],
        "confidence": 0.95,
        "config": {"quality": quality, "steps": 200, "batch_size": 4},
    }
    return quality_figures(results, blocks)


def test_who_is_there_at_its_first_evaluation_may_have_been_there_before() -> None:
    found = of_quality({"full": [4.0, 3.0], "x": [2.0, 1.0], "y": [4.0, 2.0]}, 0.75)
    assert found["step"] == 150
    _, early, later = found["contenders"]
    assert early["at_most"]
    assert early["ratio"]["lower"] is None
    assert early["ratio"]["upper"] < 1
    assert not later["at_most"]
    assert later["ratio"]["lower"] < later["ratio"]["estimate"] < later["ratio"]["upper"]
    # Nor is anything known of how much sooner the reference itself was there.
    found = of_quality({"full": [2.0, 1.0], "x": [4.0, 1.0]}, 0.25)
    assert found["step"] == 100
    assert found["contenders"][1]["ratio"]["upper"] is None


def test_one_head_has_no_quality_of_another() -> None:
    assert of_quality({"nce": [4.0, 3.0]}, 0.5) is None
