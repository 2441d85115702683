"""The keys of the random layers."""

from flax import nnx

from softmax_variants import _modules as shared
from softmax_variants._typing import Array

Streams = nnx.Rngs | nnx.RngStream


def forked(rngs: Streams | None, who: str) -> nnx.RngStream:
    """A stream of one's own, of those that are given."""
    return _stream(rngs, who).fork()


def next_key(rngs: Streams | None, own: nnx.RngStream | None, who: str) -> Array:
    """The next key of the streams given at the call, or else of one's own."""
    return _stream(own if rngs is None else rngs, who)()


def _stream(rngs: Streams | None, who: str) -> nnx.RngStream:
    if isinstance(rngs, nnx.RngStream):
        return rngs
    if not isinstance(rngs, nnx.Rngs) or not {shared.STREAM, "default"} & set(rngs):
        shared.no_stream(who)
    return rngs[shared.STREAM]
