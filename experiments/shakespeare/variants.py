"""Who takes part: every normaliser of the attention with every loss of the output."""

from experiments.engine.task import Variant
from experiments.shakespeare.attention import FORMULAS, NORMALISERS
from experiments.shakespeare.losses import FORMULAS as LOSS_FORMULAS
from experiments.shakespeare.losses import LOSSES


def all_variants() -> list[Variant]:
    """Returns all pairs, softmax with cross-entropy first."""
    return [
        Variant(
            name=f"{attention}.{loss}",
            settings={"attention": attention, "loss": loss},
            group=loss,
            about=f"{FORMULAS[attention]}; {LOSS_FORMULAS[loss]}",
        )
        for loss in LOSSES
        for attention in NORMALISERS
    ]
