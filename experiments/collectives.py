"""What a compiled program sends between devices, read from its optimised HLO."""

import math
import re
from typing import NamedTuple

KINDS = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all"),
    *("collective-permute", "collective-broadcast"),
)
# `%name = SHAPE kind(`; of a collective in two halves the first one is counted.
_CALL = re.compile(
    rf"^\s*(?:ROOT )?%?[\w.-]+ = (?P<shape>.+?) (?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\("
)
_ARRAY = re.compile(r"\b(?P<dtype>pred|[a-z]+\d+\w*)\[(?P<sizes>[\d,]*)\]")
# Kinds whose first half returns what they read beside what they write.
_WITH_OPERANDS = ("all-gather", "collective-permute")


class Collective(NamedTuple):
    """One collective of a program.

    Attributes:
      kind: One of `KINDS`.
      bytes: Of its results on one device.
      shapes: Of its results: their dtypes and sizes.
    """

    kind: str
    bytes: int
    shapes: tuple[tuple[str, tuple[int, ...]], ...]


def collectives_of(text: str) -> list[Collective]:
    """Returns the collectives in the text of a compiled program; one in a loop is there once."""
    found = []
    for line in text.splitlines():
        call = _CALL.match(line)
        if call is None:
            continue
        shapes = _shapes(call["shape"])
        if call["start"] and call["kind"] in _WITH_OPERANDS:
            shapes = _shapes(_parts(call["shape"])[1])
        found.append(Collective(call["kind"], sum(map(_bytes, shapes)), tuple(shapes)))
    return found


def totals(collectives: list[Collective]) -> dict[str, dict[str, int]]:
    """Returns how many collectives of each kind there are, and the bytes of their results."""
    kinds = [kind for kind in KINDS if any(c.kind == kind for c in collectives)]
    of_kind = {kind: [c.bytes for c in collectives if c.kind == kind] for kind in kinds}
    return {kind: {"count": len(b), "bytes": sum(b)} for kind, b in of_kind.items()}


def dtypes_of(text: str) -> set[str]:
    """Returns the dtypes of all arrays of a program, by the names that HLO has for them."""
    return {match["dtype"] for match in _ARRAY.finditer(text)}


def _shapes(text: str) -> list[tuple[str, tuple[int, ...]]]:
    return [
        (found["dtype"], tuple(int(size) for size in found["sizes"].split(",") if size))
        for found in _ARRAY.finditer(text)
    ]


def _parts(shape: str) -> list[str]:
    """Returns the outermost parts of a tuple's shape."""
    parts, depth = [""], 0
    for character in shape[1:-1]:
        depth += (character in "({[") - (character in ")}]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _bytes(shape: tuple[str, tuple[int, ...]]) -> int:
    """Returns the bytes of an array's values, without the padding of its tiles."""
    dtype, sizes = shape
    bits = 8 if dtype == "pred" else int(re.findall(r"\d+", dtype)[0])
    return math.ceil(math.prod(sizes) * bits / 8)
