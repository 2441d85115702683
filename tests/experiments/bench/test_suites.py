"""The suites: complete, measured as they say, and kept whatever happens."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import measuring, programs, roofs
from experiments.bench.case import BOTH, FORWARD, OURS, STEP, Case, Group, Wanted
from experiments.bench.command import PROGRAMS
from experiments.bench.measuring import measure
from experiments.bench.roofs import Roofs
from experiments.bench.suite_command import SUITES, chosen
from experiments.bench.suites import attention, heads, losses, maps, steps
from experiments.cli import main as command_line
from experiments.engine.step import TrainingStep
from experiments.progress import Display
from experiments.timing import Timing
from experiments.vae.config import VaeConfig
from experiments.words.config import WordsConfig

ALONE = Wanted(with_peers=False)
ROOFS = Roofs(1, 1e6, 1, 1e7, 1e-6)


def test_what_is_measured_of_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes and operations are those of the shapes; shares follow from the times."""
    seconds = {"product": 0.25, "twice": 0.5}
    monkeypatch.setattr(
        measuring,
        "interleaved",
        lambda ready, rounds, seed: {
            n: Timing([seconds[n]] * rounds, [*range(rounds)]) for n in ready
        },
    )
    x, y = jnp.ones((8, 16)), jnp.ones((16, 4))

    def twice(x: jax.Array, y: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, 2, lambda _, z: z + x @ y, jnp.zeros((8, 4)))

    cases = (
        Case("product", "jax", jnp.matmul, lambda: (x, y)),
        Case("twice", OURS, twice, lambda: (x, y)),
    )
    group = Group("test", FORWARD, {"rows": 8}, "float32", cases)
    product, loop = measure(group, 3, 0, ROOFS, Display())
    assert product["argument_bytes"] == 4 * (8 * 16 + 16 * 4)
    assert product["output_bytes"] == 4 * 8 * 4
    # What goes in and what comes out is there at once.
    whole = product["argument_bytes"] + product["output_bytes"]
    assert whole <= product["compiled_peak_bytes"] < whole + 4096
    assert loop["compiled_peak_bytes"] > whole
    assert product["flops"] == 2 * 8 * 16 * 4
    assert product["matrix_share"] == pytest.approx(2 * 8 * 16 * 4 / 0.25 / 1e7, rel=1e-3)
    assert product["copy_share"] == pytest.approx(4 * (192 + 32) / 0.25 / 1e6, rel=1e-3)
    assert (product["milliseconds"], product["ratio"], loop["ratio"]) == (250.0, 1.0, 2.0)
    # XLA counts the operations of a loop once: no count is better than a wrong one.
    assert loop["flops"] is None
    assert loop["matrix_share"] is None
    assert loop["rounds"] == 3


def test_what_a_program_holds_is_known_without_a_run() -> None:
    """Temporaries are held too, and what is donated only once."""

    def normaliser(weight: jax.Array, hidden: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(hidden @ weight.T, axis=-1)

    weight, hidden = jnp.ones((512, 8)), jnp.ones((64, 8))
    program = programs.compiled(normaliser, weight, hidden)
    logits, given = 4 * 64 * 512, 4 * 8 * (512 + 64)
    assert given + logits <= program.compiled_peak_bytes < given + 1.1 * logits
    renewed = programs.compiled(lambda x: x + 1, weight, donate=(0,))
    assert weight.nbytes <= renewed.compiled_peak_bytes < 1.1 * weight.nbytes


def test_backward_is_the_gradient_by_what_a_case_names() -> None:
    """Attention's: the program that is timed gives the gradients of the weighted sum."""
    (_, case, *_) = attention.cases((1, 3, 1, 2), ALONE)
    inputs = case.arguments()
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 1, 2)), jnp.float32)
    ready = measuring.prepare(case, BOTH)
    assert ready.program is not None
    value, gradients = ready.program.run(*inputs, weights)

    def weighted(query: jax.Array, key: jax.Array, of_values: jax.Array) -> jax.Array:
        scores = jnp.einsum("btnh,bsnh->bnts", query, key) / np.float32(2**0.5)
        found = jnp.einsum("bnts,bsnh->btnh", jax.nn.softmax(scores), of_values)
        return jnp.vdot(found, weights)

    np.testing.assert_allclose(value, weighted(*inputs), rtol=1e-5)
    for mine, theirs in zip(gradients, jax.grad(weighted, (0, 1, 2))(*inputs), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_a_step_goes_on_from_its_own_result() -> None:
    def step(state: jax.Array, amount: jax.Array) -> tuple[jax.Array, jax.Array]:
        return state + amount, amount

    seen = []

    def arguments() -> tuple[jax.Array, jax.Array]:
        seen.append(jnp.zeros(4))
        return seen[0], jnp.float32(1)

    case = Case("step", OURS, step, arguments, differentiated=(), donated=0)
    ready = measuring.prepare(case, STEP)
    for _ in range(3):
        ready.call()
    held = ready.call.__closure__
    assert held is not None
    states = [c.cell_contents[0] for c in held if isinstance(c.cell_contents, list)]
    # It was called once to be made ready.
    np.testing.assert_array_equal(states[0], np.full(4, 4.0))
    assert seen[0].is_deleted(), "the first state was given away"


def fails(error: Exception) -> Callable[..., Any]:
    def function(x: jax.Array) -> jax.Array:
        raise error

    return function


def test_a_program_that_fails_is_recorded_beside_the_others() -> None:
    x = (jnp.ones(3),)
    cases = (
        Case("reference", "jax", fails(NotImplementedError("not\nhere")), lambda: x),
        Case("other", OURS, jnp.tanh, lambda: x),
        Case("peer", "optax", fails(TypeError("float32")), lambda: x),
    )
    failed, other, peer = measure(
        Group("test", FORWARD, {}, "float32", cases), 1, 0, ROOFS, Display()
    )
    assert failed["error"] == "NotImplementedError: not here"
    assert "milliseconds" not in failed
    assert other["error"] is None
    assert other["milliseconds"] > 0
    assert other["ratio"] is None, "there is nothing to compare with"
    assert peer["error"] == "TypeError: float32"
    # A mistake in the library's own code is no figure.
    mistake = (Case("ours", OURS, fails(TypeError("mistake")), lambda: x),)
    with pytest.raises(TypeError, match="mistake"):
        measure(Group("test", FORWARD, {}, "float32", mistake), 1, 0, ROOFS, Display())


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "SHAPES", ((3, 5),))
    monkeypatch.setattr(losses, "SHAPES", ((3, 5),))
    monkeypatch.setattr(roofs, "measured", lambda dtype: ROOFS)
    monkeypatch.setattr(roofs, "anew", lambda before, dtype: before)


@pytest.mark.usefixtures("tiny")
def test_a_suite_writes_lines_that_stand_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "bench.jsonl"
    flags = ["--no-peers", "--rounds", "2", "--filter", "stablemax", "--out", str(out)]
    assert command_line(["bench", "maps", *flags]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    named = [(line["name"], line["mode"]) for line in lines]
    both = ["jax.nn.softmax", "stablemax"]
    assert named == [(name, mode) for mode in (FORWARD, BOTH) for name in both]
    for line in lines:
        assert line["shape"] == {"rows": 3, "classes": 5}
        assert {"jax", "jaxlib", "numpy"} <= set(line["versions"])
        for name in ("device", "platform", "platform_version", "revision", "xla_flags"):
            assert isinstance(line[name], str)
        assert line["device_count"] == jax.device_count()
        assert line["copy_bytes_per_second"] == ROOFS.copy_bytes_per_second
        assert line["lower_seconds"] > 0
        # The tests run with a compilation cache, where a compile time would mean nothing.
        assert programs.has_cache()
        assert line["compile_seconds"] is None
    shown = capsys.readouterr()
    assert "stablemax" in shown.out
    assert "compile times are not measured" in shown.err
    assert not list(out.parent.glob("*.part"))


@pytest.mark.usefixtures("tiny")
def test_all_suites_leave_the_steps_out_where_the_dtype_is_not_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(heads, "SIZES", (2, 16, 100))
    monkeypatch.setattr(attention, "SIZES", (1, 4, 1, 2))
    monkeypatch.setattr(steps, "CONFIGS", ())
    out = tmp_path / "bench.jsonl"
    flags = ["--no-peers", "--rounds", "1", "--filter", "stablemax", "--out", str(out)]
    assert command_line(["bench", "all", "--dtype", "bfloat16", *flags]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {line["dtype"] for line in lines} == {"bfloat16"}
    assert {line["suite"] for line in lines} == {"maps", "attention"}
    note = "steps is left out: it is of float32, not bfloat16"
    assert note in capsys.readouterr().err.splitlines()
    assert chosen("all", "float32") == list(SUITES)
    assert command_line(["bench", "all", *flags]) == 0
    assert note not in capsys.readouterr().err


@pytest.mark.usefixtures("tiny")
def test_an_interrupted_suite_keeps_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.jsonl"
    flags = ["bench", "losses", "--no-peers", "--rounds", "1", "--filter", "optax"]

    def stopped(*arguments: Any) -> list[Any]:
        if arguments[0].mode == BOTH:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(measuring, "measure", stopped)
    assert command_line([*flags, "--out", str(out)]) == 130
    assert [json.loads(line)["mode"] for line in out.read_text().splitlines()] == [FORWARD]
    assert "1 measurements" in capsys.readouterr().err
    monkeypatch.setattr(measuring, "measure", measure)
    first = out.read_text()
    assert command_line([*flags, "--out", str(out), "--resume"]) == 0
    lines = out.read_text().splitlines(keepends=True)
    assert lines[0] == first
    assert [json.loads(line)["mode"] for line in lines] == [FORWARD, BOTH]
    monkeypatch.setattr(measuring, "measure", stopped)
    # One that ends before its first figure leaves an earlier file as it is.
    before = out.read_text()
    monkeypatch.setattr(roofs, "measured", lambda dtype: stopped(Group("", BOTH, {}, "", ())))
    assert command_line([*flags, "--out", str(out)]) == 130
    assert out.read_text() == before
    assert "before anything was measured" in capsys.readouterr().err


def test_help_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line(["bench", "--help"])
    shown = capsys.readouterr().out
    for name in (*SUITES, "all", *PROGRAMS):
        assert f"\n  {name} " in shown


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("mapps",), ["'mapps'", "maps", "did you mean 'maps'?"]),
        (("maps", "--round", "3"), ["'--round'", "did you mean '--rounds'?"]),
        (("maps", "--rounds", "0"), ["--rounds", "at least 1", "'0'"]),
        (("maps", "--dtype", "float8"), ["--dtype", "float8", "bfloat16"]),
        (("maps", "--no-peers", "--filter", "sparsemin"), ["--filter", "'sparsemin'", "sparsemax"]),
        (("maps", "--resume", "--out", "no.jsonl"), ["--resume", "'no.jsonl'", "found none"]),
        (("maps", "--out", "file/x.jsonl"), ["--out", "cannot write", "file/x.jsonl"]),
        (("steps", "--dtype", "bfloat16"), ["--dtype", "float32", "bfloat16"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_mistakes_get_one_line(
    arguments: tuple[str, ...],
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    assert command_line(["bench", *arguments]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    for part in parts:
        assert part in line


def test_the_rates_of_the_device_are_counted_from_its_best_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sizes grow until a call lasts; a copy reads and writes, a product multiplies and adds."""
    sizes: list[int] = []

    def interleaved(ready: dict[str, Any], rounds: int) -> dict[str, Timing]:
        ready["it"]()
        lasts = 0.004 * len(sizes)
        sizes.append(0)
        return {"it": Timing([5 * lasts, lasts, 3 * lasts], [0, 1, 2])}

    monkeypatch.setattr(roofs, "interleaved", interleaved)
    found = roofs.measured("float32", copy=2**14, matrix=2**6)
    # Three sizes of the copy up to its limit, the last at 0.008 s, and then two of the product.
    assert found.copy_bytes == 2 * 4 * 2**14
    assert found.copy_bytes_per_second == pytest.approx(2 * 4 * 2**14 / 0.008)
    assert found.matrix_size == 64
    assert found.matrix_flops_per_second == pytest.approx(2 * 64**3 / 0.016)
    assert found.call_seconds == pytest.approx(0.02)
    # Once more, at the same sizes and without a search.
    again = roofs.anew(found, "float32")
    assert again[0] == found[0]
    assert again[2] == found[2]
    assert again.copy_bytes_per_second == pytest.approx(2 * 4 * 2**14 / 0.024)
    assert again.matrix_flops_per_second == pytest.approx(2 * 64**3 / 0.028)


def test_peak_memory_is_told_where_the_device_counts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("it", OURS, jnp.tanh, lambda: (jnp.ones(8),))
    readings: tuple[tuple[list[tuple[int, int] | None], int | None], ...] = (
        ([None, None], None),
        # 100 bytes were in use, arguments included, and 350 at most during the call.
        ([(100, 200), (150, 350)], 350 - 100 + 32),
        # An earlier program had needed more.
        ([(100, 400), (150, 400)], None),
    )
    for counted, expected in readings:
        monkeypatch.setattr(measuring, "memory_in_use", iter(counted).__next__)
        assert measuring.prepare(case, FORWARD).peak_bytes == expected


def test_a_very_slow_program_is_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(measuring, "_seconds", lambda call: 7.0)
    case = Case("it", OURS, jnp.tanh, lambda: (jnp.ones(8),))
    (record,) = measure(Group("test", FORWARD, {}, "float32", (case,)), 9, 0, ROOFS, Display())
    assert (record["milliseconds"], record["rounds"], record["ratio"]) == (7000.0, 1, 1.0)


def test_steps_stand_beside_those_of_their_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> tuple[jax.Array, jax.Array]:
        return jnp.zeros((2, 3)), jnp.ones(3)

    def step(state: jax.Array, amount: jax.Array) -> tuple[jax.Array]:
        return (state + amount[None, :],)

    def toy(name: str) -> TrainingStep:
        return TrainingStep(name, step, jax.eval_shape(make), make, (0,), 7, (1,))

    found = {"words": ["full", "tree"], "vae": ["exact", "other", "third"]}
    skipgram = functools.partial(WordsConfig, task="skipgram")
    monkeypatch.setattr(steps, "CONFIGS", (WordsConfig, skipgram, VaeConfig))
    monkeypatch.setattr(
        steps, "training_steps", lambda config: [*map(toy, found[config.experiment])]
    )
    groups = steps.groups(ALONE)
    named = [[case.name for case in group.cases] for group in groups]
    assert named == [
        ["words/ngram/full", "words/ngram/tree"],
        ["words/skipgram/full", "words/skipgram/tree"],
        ["vae/exact", "vae/other", "vae/third"],
    ]
    assert [len(group.cases) for group in steps.groups(Wanted(quick=True))] == [2, 2, 2]
    # As the experiments themselves are compiled.
    assert [bool(group.cases[0].options) for group in groups] == [True, True, True]
    record, _ = measure(groups[1], 1, 0, ROOFS, Display())
    assert record["shape"] == {"examples": 7, "state": 6}
    assert record["copy_share"] is None
    assert record["mode"] == STEP
