"""The oracles agree with one another: each answer is reached in two unrelated ways."""

import functools

import numpy as np
import pytest

from tests import oracles

ALPHAS = (0.5, 0.9, 1.0, 1.0001, 1.01, 1.05, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
SCALES = (1e-3, 1.0, 30.0)
TOLERANCE = 1e-13


def row(rng: np.random.Generator, n: int = 7, scale: float = 1.0) -> oracles.Float64:
    return np.asarray(rng.normal(size=n) * scale)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_entmax_agrees_with_fifty_digits(
    rng: np.random.Generator, alpha: float, scale: float
) -> None:
    for n in (1, 2, 9):
        x = row(rng, n, scale) + 1e4
        exact = [float(p) for p in oracles.mp_entmax(oracles.mp_row(x), alpha)]
        np.testing.assert_allclose(oracles.entmax(x, alpha), exact, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("n", [1000, 100_000])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_long_rows_satisfy_the_optimality_conditions(
    rng: np.random.Generator, alpha: float, n: int
) -> None:
    """A solution is a distribution with `(p ** eps - 1) / eps - y` constant on its support."""
    x = row(rng, n)
    p = oracles.entmax(x, alpha)
    assert p.sum() == pytest.approx(1, abs=1e-14)
    inside, eps = p > 0, alpha - 1
    logs = np.log(p[inside])
    levels = (logs if eps == 0 else np.expm1(eps * logs) / eps) - (x - x.max())[inside]
    # p ** eps carries p's relative error, which is large only where p itself is tiny.
    assert np.ptp(levels[p[inside] > 1e-9]) < 1e-9
    threshold = levels.mean() if alpha <= 1 else np.max(-levels)
    if alpha > 1 and not inside.all():
        assert (x - x.max())[~inside].max() <= threshold - 1 / eps + 1e-9


def test_sparsemax_is_the_projection_onto_the_simplex(rng: np.random.Generator) -> None:
    for scale in SCALES:
        x = row(rng, 6, scale)
        brute = oracles.sparsemax_by_enumeration(list(x))
        np.testing.assert_allclose(oracles.simplex_projection(x), brute, atol=1e-14)
        np.testing.assert_allclose(oracles.entmax(x, 2.0), brute, atol=1e-14)
        np.testing.assert_allclose(oracles.capped_simplex_projection(x), brute, atol=1e-14)


@pytest.mark.parametrize(("budget", "upper"), [(1.0, 0.4), (2.0, 1.0), (2.5, 0.5), (6.0, 1.0)])
def test_capped_projection_is_feasible_and_optimal(
    rng: np.random.Generator, budget: float, upper: float
) -> None:
    x = row(rng, 6)
    p = oracles.capped_simplex_projection(x, budget, upper)
    assert p.sum() == pytest.approx(budget, abs=1e-13)
    assert p.min() >= 0
    assert p.max() <= upper
    # Moving mass from i to j can only gain where x_i - p_i < x_j - p_j.
    residual = x - p
    givers, takers = residual[p > 1e-12], residual[p < upper - 1e-12]
    if givers.size and takers.size:
        assert givers.min() >= takers.max() - 1e-12


@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0, 4.0, np.inf])
def test_normmax_beats_every_neighbour(rng: np.random.Generator, alpha: float) -> None:
    x = row(rng, 5)
    best = oracles.normmax(x, alpha)
    for _ in range(200):
        other = 0.99 * best + 0.01 * rng.dirichlet(np.full(5, 0.3))
        gain = (x * (other - best)).sum() - (
            np.linalg.norm(other, alpha) - np.linalg.norm(best, alpha)
        )
        assert gain <= 1e-12


@pytest.mark.parametrize("alpha", ALPHAS)
def test_jacobian_and_second_derivative_agree_with_differences(
    rng: np.random.Generator, alpha: float
) -> None:
    x, v, w = row(rng), row(rng), row(rng)
    digits = oracles.mp_row(x)
    product = oracles.jacobian_product(oracles.entmax(x, alpha), alpha, v)
    np.testing.assert_allclose(product, oracles.mp_jacobian_product(digits, alpha, v), atol=1e-11)

    direction = oracles.mp_row(v)

    def moved(t: oracles.Mpf) -> list[oracles.Mpf]:
        p = oracles.mp_entmax([a + t * b for a, b in zip(digits, direction, strict=True)], alpha)
        s = [value ** (2 - oracles.Mpf(alpha)) if value > 0 else oracles.Mpf(0) for value in p]
        mean = sum(a * b for a, b in zip(s, oracles.mp_row(w), strict=True)) / sum(s)
        return [a * (b - mean) for a, b in zip(s, oracles.mp_row(w), strict=True)]

    second = oracles.second_derivative(oracles.entmax(x, alpha), alpha, w, v)
    np.testing.assert_allclose(second, oracles.mp_derivative(moved, 0.0), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_alpha_derivative_agrees_with_differences(rng: np.random.Generator, alpha: float) -> None:
    x = row(rng)
    digits = oracles.mp_row(x)
    exact = oracles.mp_derivative(lambda a: oracles.mp_entmax(digits, a), alpha)
    np.testing.assert_allclose(oracles.alpha_derivative(x, alpha), exact, atol=1e-9)


@pytest.mark.parametrize("alpha", [alpha for alpha in ALPHAS if alpha >= 1])
@pytest.mark.parametrize("scale", SCALES)
def test_losses_agree_with_fifty_digits(
    rng: np.random.Generator, alpha: float, scale: float
) -> None:
    x = row(rng, 6, scale)
    digits = oracles.mp_row(x)
    targets = [np.eye(6)[int(np.argmax(x))], np.eye(6)[0], rng.dirichlet(np.ones(6))]
    for target in targets:
        wanted = oracles.mp_row(target)
        # Exactly normalised, so that both sides speak of the same distribution.
        wanted[-1] = 1 - sum(wanted[:-1], oracles.Mpf(0))
        exact = float(oracles.mp_entmax_loss(digits, wanted, alpha))
        soft = oracles.entmax_loss(x, target, alpha)
        assert soft == pytest.approx(exact, abs=1e-12 * max(1.0, scale))
        loss = functools.partial(oracles.mp_entmax_loss, digits, wanted)
        exact_slope = oracles.mp_derivative(lambda a, f=loss: [f(a)], alpha)  # type: ignore[misc] # a default binds the loop's value
        slope = oracles.loss_alpha_derivative(x, target, alpha)
        assert slope == pytest.approx(exact_slope[0], abs=1e-9 * max(1.0, scale))
    assert oracles.entmax_loss(x, 0, alpha) == oracles.entmax_loss(x, np.eye(6)[0], alpha)


def test_normmax_loss_is_the_best_gain_over_the_target(rng: np.random.Generator) -> None:
    x, target = row(rng, 5), rng.dirichlet(np.ones(5))
    loss = oracles.normmax_loss(x, target, 2.0)
    assert loss > 0
    p = oracles.normmax(x, 2.0)
    assert oracles.normmax_loss(x, p, 2.0) == pytest.approx(0, abs=1e-14)
    value = (x * (p - target)).sum() - np.linalg.norm(p) + np.linalg.norm(target)
    assert loss == pytest.approx(value, abs=1e-14)


def test_hand_computed_values() -> None:
    np.testing.assert_allclose(
        oracles.entmax([0.0, 1.0, 2.0], 0.5), [0.178424, 0.286762, 0.534814], atol=5e-7
    )
    d = 0.7  # two classes: 1/2 + (d / 8) sqrt(8 - d^2) at 1.5, (1 + d) / 2 at 2, saturated at 3
    expected = {1.5: 0.5 + d / 8 * (8 - d * d) ** 0.5, 2.0: (1 + d) / 2, 3.0: 1.0}
    for alpha, p in expected.items():
        assert oracles.entmax([d, 0.0], alpha)[0] == pytest.approx(p, abs=1e-15)
    assert oracles.entmax([1.0, 1.0, 0.0], np.inf).tolist() == [0.5, 0.5, 0.0]


def test_rows_are_masked_by_deletion(rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 2, 4))
    mask = np.array([True, False, True, True])
    x[1, :, 2] = -np.inf
    out = oracles.by_row(lambda r: oracles.entmax(r, 1.5), x, where=mask)
    np.testing.assert_array_equal(out[..., 1], 0)
    np.testing.assert_array_equal(out[1, :, 2], 0)
    np.testing.assert_array_equal(out[0, 0, [0, 2, 3]], oracles.entmax(x[0, 0, [0, 2, 3]], 1.5))
    moved = oracles.by_row(lambda r: oracles.entmax(r, 1.5), np.moveaxis(x, -1, 0), axis=0)
    np.testing.assert_allclose(moved.sum(0), 1)
    nothing = oracles.by_row(lambda r: oracles.entmax(r, 1.5), x, where=False)
    np.testing.assert_array_equal(nothing, 0)
