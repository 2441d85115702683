"""What every test runs under: eight CPU devices, strict promotion, and randomness that repeats."""

import os
import signal
import zlib
from pathlib import Path

# A shell ignores Ctrl-C for what it starts in the background, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

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

# Compiling is most of the suite's time, and what has not changed need not be compiled again.
_CACHE = Path(__file__).parents[1] / ".cache" / "jax"
jax.config.update("jax_compilation_cache_dir", str(_CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

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
