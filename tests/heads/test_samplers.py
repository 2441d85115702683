"""The laws of the samplers, exactly where they are tables and in numbers where they are drawn."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import softmax_variants as sv
from softmax_variants.heads._alias import AliasTable, below
from softmax_variants.heads._samplers import inclusion

Floats = np.ndarray[Any, Any]


def law(table: AliasTable) -> Floats:
    """The probabilities with which a table draws, in float64."""
    alias = np.asarray(table.alias)
    own = np.asarray(table.threshold, np.float64) / 2.0**32
    own = np.where(alias == np.arange(alias.size), 1, own)
    p = own.copy()
    np.add.at(p, alias, 1 - own)
    return p / p.size


COUNTS: dict[str, Callable[[], Floats]] = {
    "one class": lambda: np.ones(1),
    "equal": lambda: np.full(10, 0.1),
    "one has nearly all": lambda: np.append(np.full(999, 1e-9), 1.0),
    "one has all": lambda: np.eye(50)[7],
    "half are zero": lambda: np.tile([0.0, 3.0], 100),
    "two": lambda: np.array([1e300, 1e-300]),
    "zipf": lambda: 1 / np.arange(1.0, 200_001),
    "zipf, shuffled": lambda: np.random.default_rng(0).permutation(1 / np.arange(1.0, 5001)),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_alias_table_is_the_law(name: str) -> None:
    counts = COUNTS[name]()
    sampler = sv.UnigramSampler(counts, power=1.0)
    p = counts / counts.sum()
    found = law(sampler.table)
    # A slot is exact to 2^-33 of its share, and a class is made of what many slots give it.
    np.testing.assert_allclose(found, p, rtol=2e-9, atol=2.0**-32 / p.size)
    assert not found[counts == 0].any()
    positive = counts > p.size * 1e-45
    logs = sampler.log_prob(jnp.arange(p.size))
    np.testing.assert_allclose(
        np.asarray(logs)[positive], np.log(p[positive]), rtol=2e-7, atol=1e-7
    )


def test_the_power_of_a_count() -> None:
    sampler = sv.UnigramSampler(jnp.array([16, 0, 1, 81]))
    expected = np.array([8, 0, 1, 27]) / 36
    np.testing.assert_allclose(np.exp(sampler.log_prob(jnp.arange(4))), expected, rtol=1e-6)
    np.testing.assert_allclose(law(sampler.table), expected, atol=1e-9)
    uniform = sv.UnigramSampler([5, 0, 1], power=0.0)
    np.testing.assert_allclose(law(uniform.table), [0.5, 0, 0.5], atol=1e-9)


def check_frequencies(ids: jax.Array, p: Floats) -> None:
    """Every class within 5 standard deviations of its expected number."""
    n = ids.size
    found = np.bincount(np.asarray(ids), minlength=p.size)
    assert np.abs(found - n * p).max() <= 5 * np.sqrt(n * p * (1 - p)).max()
    assert (np.abs(found - n * p) <= 5 * np.sqrt(n * p * (1 - p)) + 1e-9 * n).all()


SAMPLERS: dict[str, Callable[[], sv.Sampler]] = {
    "uniform": lambda: sv.UniformSampler(7),
    "log-uniform": lambda: sv.LogUniformSampler(7),
    "unigram": lambda: sv.UnigramSampler([5, 0, 1, 30, 2, 0, 100]),
    "mixed": lambda: sv.MixedSampler(
        [sv.UnigramSampler([5, 0, 0, 30, 2, 0, 100]), sv.UniformSampler(7)], [3, 1]
    ),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_classes_are_drawn_as_often_as_they_say(name: str, key: jax.Array) -> None:
    sampler = SAMPLERS[name]()
    p = np.exp(np.asarray(sampler.log_prob(jnp.arange(7)), np.float64))
    assert p.sum() == pytest.approx(1, abs=1e-6)
    ids = jax.jit(lambda s, k: s.draw(k, 100_000))(sampler, key)
    assert ids.dtype == jnp.int32
    check_frequencies(ids, p / p.sum())


def test_a_mixture_has_the_probability_of_all_its_parts() -> None:
    sampler = SAMPLERS["mixed"]()
    counts = np.array([5, 0, 0, 30, 2, 0, 100]) ** 0.75
    expected = 0.75 * counts / counts.sum() + 0.25 / 7
    np.testing.assert_allclose(np.exp(sampler.log_prob(jnp.arange(7))), expected, rtol=1e-6)


def test_the_log_uniform_law_of_ten_million_classes(key: jax.Array) -> None:
    """In plain float32 neighbouring ids there are drawn in lumps of about ten."""
    classes, num = 10_000_000, 1 << 20
    sampler = sv.LogUniformSampler(classes)
    ids = np.asarray(jax.jit(lambda s, k: s.draw(k, num))(sampler, key)).astype(np.int64)
    assert ids.min() >= 0
    assert ids.max() < classes
    edges = np.concatenate([np.arange(20), np.geomspace(20, classes, 60).astype(int)])
    cumulative = np.log(edges + 1.0) / math.log(classes + 1.0)
    expected = num * np.diff(cumulative)
    found = np.histogram(ids, edges)[0]
    assert (np.abs(found - expected) <= 5 * np.sqrt(expected)).all()
    # Repeated ids in the upper half, as many as independent draws of all of its ids give.
    upper = ids[ids >= classes // 2]
    repeats = upper.size - np.unique(upper).size
    k = np.arange(classes // 2, classes, 1000.0)
    same = 1000 * np.sum((np.log1p(1 / (k + 1)) / math.log(classes + 1.0)) ** 2)
    expected_repeats = num**2 / 2 * same
    assert abs(repeats - expected_repeats) <= 5 * math.sqrt(expected_repeats)
    # Odd and even ids alike.
    assert abs(np.sum(upper % 2) - upper.size / 2) <= 5 * math.sqrt(upper.size) / 2


def test_the_log_uniform_table_is_the_law_of_its_blocks() -> None:
    sampler = sv.LogUniformSampler(1_000_000)
    first, size = (np.asarray(x, np.float64) for x in (sampler.first, sampler.size))
    assert first[0] == 1
    assert (first[1:] == first[:-1] + size[:-1]).all()
    assert first[-1] + size[-1] == 1_000_001
    expected = np.log1p(size / first) / math.log(1_000_001)
    np.testing.assert_allclose(law(sampler.table), expected, rtol=1e-7, atol=1e-14)


def test_the_log_probabilities_of_the_log_uniform_law_in_its_tail() -> None:
    sampler = sv.LogUniformSampler(2**31 - 2)
    ids = np.array([0, 1, 10**6, 2**31 - 3, -1, 2**31 - 2])
    with np.errstate(all="ignore"):
        p = np.log1p(1 / (ids[:4] + 1.0)) / math.log(2.0**31 - 1)
    found = np.asarray(sampler.log_prob(jnp.asarray(ids, jnp.int32)))
    np.testing.assert_allclose(found[:4], np.log(p), rtol=2e-7)
    assert (found[4:] == -np.inf).all()


def test_inclusion_is_accurate_for_tiny_and_for_large_probabilities() -> None:
    logs = np.array(
        [-100.0, -50, -20, -17.1, -16.9, -10, -1, -0.7, -0.69, -1e-3, -1e-7, 0, -np.inf]
    )
    for num in (1, 7, 1000, 10**6):
        with mpmath.workdps(60):
            expected = []
            for x in logs.astype(np.float32):
                p = mpmath.exp(mpmath.mpf(float(x))) if np.isfinite(x) else mpmath.mpf(0)
                value = 1 - (1 - p) ** num
                expected.append(float(mpmath.log(value)) if value else -np.inf)
        found = inclusion(jnp.asarray(logs, jnp.float32), jnp.asarray(num))
        # The log of num times P, and then the power, have the rounding errors of numbers near 100.
        np.testing.assert_allclose(found, expected, rtol=4e-7, atol=2e-6)
        # It is a probability, and a single draw includes what it draws.
        assert (np.asarray(found) <= 0).all()
    one = inclusion(jnp.asarray(logs, jnp.float32), jnp.asarray(1))
    np.testing.assert_allclose(one, logs, rtol=4e-7, atol=2e-7)


def test_a_sampler_is_an_argument_of_a_program(key: jax.Array) -> None:
    """Its tables are data: another sampler of the same size runs the same program."""
    traces = 0

    @jax.jit
    def draw(sampler: sv.Sampler, key: jax.Array) -> jax.Array:
        nonlocal traces
        traces += 1
        return sampler.draw(key, 100)

    assert (draw(sv.UnigramSampler([1, 0, 0]), key) == 0).all()
    assert (draw(sv.UnigramSampler([0, 0, 1]), key) == 2).all()
    assert traces == 1
    each = jax.vmap(lambda k: sv.LogUniformSampler(5).draw(k, 3))(jax.random.split(key, 4))
    assert each.shape == (4, 3)


def run(frequency: sv.StreamingFrequency, state: Any, batches: Any) -> Any:
    step = jax.jit(lambda s, ids: (frequency.update(s, ids), None))
    return jax.lax.scan(step, state, jnp.asarray(batches, jnp.int32))[0]


def test_single_ids_follow_the_published_recursion() -> None:
    """With a gap of d every time: `B_n = d + (B_0 - d) (1 - rate)^n`."""
    frequency = sv.StreamingFrequency(97, hashes=3, rate=0.1, initial_gap=40.0)
    state = run(frequency, frequency.init(), np.tile([[3], [4], [3], [5]], (25, 1)))
    found = np.exp(-np.asarray(frequency.log_prob(state, jnp.array([4, 5]))))
    np.testing.assert_allclose(found[1], 4 + 36 * 0.9**25, rtol=1e-5)
    # The first gap of 4 was of two draws.
    np.testing.assert_allclose(found[0], 4 + (40 * 0.9 + 0.2 - 4) * 0.9**24, rtol=1e-5)


def test_repeats_in_a_step_are_several_draws(rng: np.random.Generator) -> None:
    p = np.array([0.5, 0.3, 0.15, 0.05])
    frequency = sv.StreamingFrequency(1000, rate=0.01)
    batches = rng.choice(4, size=(2000, 8), p=p)
    state = run(frequency, frequency.init(), batches)
    found = np.exp(np.asarray(frequency.log_prob(state, jnp.arange(4))))
    np.testing.assert_allclose(found, p, rtol=0.2)
    same = frequency.update(frequency.init(), jnp.array([2, 1, 2, -1]))
    other = frequency.update(frequency.init(), jnp.array([[1, 2], [2, -5]]))
    jax.tree.map(np.testing.assert_array_equal, same, other)
    assert int(same.draws) == 3
    assert frequency.log_prob(same, jnp.array([-1]))[0] == -jnp.inf


def test_a_collision_is_decided_by_the_hash_without_one() -> None:
    frequency = sv.StreamingFrequency(64, hashes=4, rate=0.5)
    slots = np.asarray(frequency._slots(jnp.arange(2000)))
    other = next(i for i in range(1, 2000) if (slots[:, i] == slots[:, 0]).sum() == 1)
    state = run(frequency, frequency.init(), np.full((50, 1), other))
    assert np.exp(frequency.log_prob(state, jnp.array([other])))[0] == pytest.approx(1)
    assert np.exp(frequency.log_prob(state, jnp.array([0])))[0] == pytest.approx(1 / 64)
    # The hashes differ from each other, and fill the table evenly.
    assert np.abs(np.bincount(slots.reshape(-1), minlength=64) - 125).max() < 60


def test_the_count_of_draws_may_wrap() -> None:
    frequency = sv.StreamingFrequency(50, rate=1.0)
    start = frequency.init()
    late = start._replace(draws=jnp.uint32(2**32 - 3), last=start.last - jnp.uint32(3))
    state = run(frequency, late, [[1], [2], [3], [4], [1]])
    assert np.exp(frequency.log_prob(state, jnp.array([1])))[0] == pytest.approx(0.25)


WRONG: dict[str, tuple[type[Exception], Callable[[], Any], str]] = {
    "no classes": (ValueError, lambda: sv.UniformSampler(0), "classes must be"),
    "a float": (TypeError, lambda: sv.LogUniformSampler(3.0), "classes"),  # type: ignore[arg-type] # wrong
    "negative": (ValueError, lambda: sv.UnigramSampler([1, -2]), "counts .*-2"),
    "all zero": (ValueError, lambda: sv.UnigramSampler([0, 0]), "counts must not all be 0"),
    "infinite": (ValueError, lambda: sv.UnigramSampler([1, np.inf]), "counts .*inf"),
    "no vector": (ValueError, lambda: sv.UnigramSampler(np.ones((1, 2))), r"counts .*\(1, 2\)"),
    "power": (ValueError, lambda: sv.UnigramSampler([1, 2], -1.0), "power"),
    "traced": (
        TypeError,
        lambda: jax.eval_shape(sv.UnigramSampler, jnp.ones(3)),
        "traced",
    ),
    "num": (ValueError, lambda: sv.UniformSampler(3).draw(jax.random.key(0), 0), "num"),
    "ids": (TypeError, lambda: sv.UniformSampler(3).log_prob(jnp.ones(2)), "ids .*float32"),
    "mixture": (ValueError, lambda: sv.MixedSampler([sv.UniformSampler(3)], [1, 2]), "weights"),
    "no samplers": (ValueError, lambda: sv.MixedSampler([], []), "samplers"),
    "sizes": (
        ValueError,
        lambda: sv.MixedSampler([sv.UniformSampler(3), sv.UniformSampler(4)], [1, 2]),
        r"\[3, 4\]",
    ),
    "slots": (ValueError, lambda: sv.StreamingFrequency(0), "slots"),
    "rate": (ValueError, lambda: sv.StreamingFrequency(5, rate=0.0), "rate"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_named(case: str) -> None:
    error, call, message = WRONG[case]
    with pytest.raises(error, match=message):
        call()


def test_words_below_a_bound_are_the_whole_part_of_the_product() -> None:
    """Against Python's integers, the ends and random words."""
    rng = np.random.default_rng(0)
    ends = np.array([0, 1, 2**16 - 1, 2**16, 2**31, 2**32 - 1], np.uint32)
    high, low = (x.ravel() for x in np.meshgrid(ends, ends))
    more = rng.integers(2**32, size=(2, 200), dtype=np.uint32)
    high, low = np.concatenate([[high, low], more], axis=1)
    for bound in (1, 2, 3, 65_535, 65_537, 1_000_003, 2**31 - 2):
        exact = [(bound * ((int(a) << 32) + int(b))) >> 64 for a, b in zip(high, low, strict=True)]
        np.testing.assert_array_equal(jax.jit(below, static_argnums=2)(high, low, bound), exact)
