"""The front of a scatter plot: those that no other beats, in order, and without what was cut."""

from typing import Literal

import pytest

from experiments.scatter import Dot, front, scatter


def dot(name: str, x: float, y: float, cut: bool = False) -> Dot:
    return Dot(name, "c0", x, y, y, y, cut)


def names(dots: list[Dot], better: Literal["higher", "lower"]) -> str:
    return "".join(each.name for each in front(dots, better))


def test_the_front_goes_from_cheap_to_costly_and_gets_better() -> None:
    dots = [dot("a", 4, 9), dot("b", 1, 2), dot("c", 2, 5), dot("d", 3, 4), dot("e", 5, 1)]
    assert names(dots, "higher") == "bca"
    # Less is better: the same dots, and the cheapest of them all the same.
    assert names(dots, "lower") == "be"
    mirrored = [each._replace(y=-each.y) for each in dots]
    assert names(mirrored, "lower") == "bca"
    assert front([], "higher") == []


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_of_what_is_level_in_one_the_better_in_the_other_stays(sign: float) -> None:
    better: Literal["higher", "lower"] = "higher" if sign > 0 else "lower"
    # As costly: the better one. As good: the cheaper one. Alike in both: the first given.
    assert names([dot("a", 1, sign * 1), dot("b", 1, sign * 2)], better) == "b"
    assert names([dot("a", 2, sign * 1), dot("b", 1, sign * 1)], better) == "b"
    assert names([dot("a", 1, sign * 1), dot("b", 1, sign * 1)], better) == "a"
    # Nor does a tie end the front.
    level = [dot("a", 1, sign * 1), dot("b", 2, sign * 1), dot("c", 3, sign * 2)]
    assert names(level, better) == "ac"


def test_what_was_cut_is_never_in_the_front_and_beats_nobody() -> None:
    dots = [dot("a", 2, 1), dot("x", 1, 9, cut=True), dot("b", 3, 2)]
    assert names(dots, "higher") == "ab"
    assert names(dots, "lower") == "a"
    assert names([dot("x", 1, 9, cut=True)], "higher") == ""


def test_what_was_cut_is_drawn_as_a_cross() -> None:
    whole, cut = (
        scatter("title", [dot("a", 1, 1), dot("b", 2, 2, cut=cut)], ("x", "y")).shapes
        for cut in (False, True)
    )
    assert [sum('r="4.0"' in shape for shape in shapes) for shapes in (whole, cut)] == [2, 1]
    assert sum('r="2.0"' in shape for shape in cut) == 1
    # The two strokes of the cross.
    assert len(cut) == len(whole) + 2
