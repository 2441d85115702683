"""What every test runs under: eight CPU devices, strict promotion, and randomness that repeats."""

import os
import zlib

# Read once, when the backend starts: they have to stand before anything touches a device.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()

import hypothesis
import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# The same examples on every run: a failure can be repeated, and a passing suite stays passing.
hypothesis.settings.register_profile(
    "deterministic", derandomize=True, deadline=None, database=None, print_blob=False
)
hypothesis.settings.load_profile("deterministic")


def _seed(request: pytest.FixtureRequest) -> int:
    """A seed that depends on the test's name alone, so neither order nor worker changes it."""
    return zlib.crc32(request.node.nodeid.encode())


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """NumPy randomness of this test alone."""
    return np.random.default_rng(_seed(request))


@pytest.fixture
def key(request: pytest.FixtureRequest) -> jax.Array:
    """A JAX key of this test alone."""
    return jax.random.key(_seed(request))
