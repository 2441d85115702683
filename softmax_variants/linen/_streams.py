"""The keys of the random layers."""

from flax import linen as nn

from softmax_variants import _modules as shared
from softmax_variants._typing import Array


def next_key(module: nn.Module, who: str) -> Array:
    """The next key of the stream `sample`; initialising a module may do without it."""
    if not module.has_rng(shared.STREAM):
        if module.is_initializing() and module.has_rng("params"):
            return module.make_rng("params")
        shared.no_stream(who)
    return module.make_rng(shared.STREAM)
