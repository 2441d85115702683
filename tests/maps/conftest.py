"""Keys that compile fast."""

import jax
import pytest


@pytest.fixture
def fast_key(key: jax.Array) -> jax.Array:
    """A key whose generator compiles in a tenth of the default one's time on a CPU.

    The maps look at a key only through `jax.random.bits`, so any generator serves a test of what
    they make of the bits.
    """
    words = jax.random.key_data(key)
    return jax.random.wrap_key_data(jax.numpy.concatenate([words, words]), impl="rbg")
