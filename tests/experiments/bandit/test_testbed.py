"""The testbed: the book's curves, what every policy shares, and a run from end to end."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import cli
from experiments.bandit.config import BanditConfig
from experiments.bandit.parts import parts
from experiments.bandit.policies import Family, choose
from experiments.bandit.statements import STATEMENTS, Curves, sentences, statements
from experiments.bandit.task import Bandits
from experiments.bandit.testbed import Game, take_action
from experiments.base_config import field_help, field_types
from experiments.checkpoints import open_checkpoints
from experiments.engine import report_tables
from experiments.engine.programs import Models, Programs, compile_programs
from experiments.engine.task import Judgement
from experiments.engine.training import Training
from experiments.mesh import make_mesh
from experiments.page import section
from tests.experiments.browser import expect_readable
from tests.experiments.html import linked_cells

BANDIT = str(Path(__file__).parents[3] / "configs" / "bandit.py")
# Both halves of the problems are looked at here: nothing is chosen by them.
BOOK = BanditConfig(seeds=20)
SHORT = BanditConfig(seeds=4, batch_size=200, steps=60, evaluations=2, points=10)
TINY = """
from experiments.bandit.config import BanditConfig

def get_config():
    return BanditConfig(
        variants=("greedy", "softmax_0.5", "softmax_tuned"), temperatures=(0.5,), arms=3, seeds=4,
        batch_size=20, steps=40, evaluations=2, points=20, trials=2, tuning_seeds=2,
    )
"""


@functools.cache
def program(config: BanditConfig, family: Family, models: int) -> Programs:
    shapes = [("parameter", ())]
    settings = {"family": family}
    task, steps = Bandits(config), config.steps
    return compile_programs(task, config, settings, shapes, models, steps, make_mesh())


def training(config: BanditConfig, family: Family, parameters: Sequence[float]) -> Training:
    """Trains every seed with every parameter at once; the parameter varies slowest."""
    seeds = np.tile(np.arange(config.seeds, dtype=np.int32), len(parameters))
    numbers = np.repeat(np.asarray(parameters, np.float32), config.seeds)
    models = Models(seeds, np.ones(seeds.size, np.float32), {"parameter": numbers})
    programs = program(config, family, seeds.size)
    settings = {"family": family}
    return Training(Bandits(config), config, settings, models, config.steps, programs, make_mesh())


def played(made: Training) -> list[Judgement]:
    """How each model did on its validation problems, and after these on its test problems."""
    *_, last = made.run(made.begin(), 0, lambda _: None)
    assert (np.asarray(last.saved.state.lost) == -1).all()
    splits = [made.judge(last.saved.state.params, s) for s in ("validation", "test")]
    return [one for split in zip(*splits, strict=True) for one in split]


@functools.cache
def short(family: Family, parameter: float) -> list[Judgement]:
    return played(training(SHORT, family, [parameter]))


def values(judged: Sequence[Judgement], metric: str) -> np.ndarray:
    return np.asarray([one.metrics[metric] for one in judged])


@pytest.fixture(scope="module")
def book() -> dict[str, Curves]:
    """The policies of figure 2.2 on 2,000 problems: 40 groups of 50."""
    names = {"epsilon_0.1": 0.1, "greedy": 0.0, "epsilon_0.01": 0.01}
    judged = played(training(BOOK, "epsilon", list(names.values())))
    count = 2 * BOOK.seeds
    return {
        name: {
            curve: np.asarray([one.details["curves"][curve] for one in judged[at : at + count]])
            for curve in ("reward", "optimal")
        }
        for name, at in zip(names, range(0, 3 * count, count), strict=True)
    }


def test_the_books_ordering_of_figure_2_2_is_reproduced(book: dict[str, Curves]) -> None:
    checks = statements(BOOK, book)
    assert len(checks) == len(STATEMENTS) - 1  # ucb takes no part here
    assert [c["verdict"] for c in checks] == ["holds"] * len(checks), checks
    assert sentences(checks) == ["Of 8 statements of the book on its curves, 8 hold."]
    # The curve of figure 2.2 itself: ε = 0.1 ends at a reward of about 1.35.
    assert abs(book["epsilon_0.1"]["reward"][:, -10:].mean() - 1.35) < 0.06


def test_the_statements_fail_where_the_curves_are_exchanged(book: dict[str, Curves]) -> None:
    exchanged = {**book, "greedy": book["epsilon_0.1"], "epsilon_0.1": book["greedy"]}
    checks = statements(BOOK, exchanged)
    verdicts = {check["claim"]: check["verdict"] for check in checks}
    assert verdicts["in the long run ε = 0.1 earns more than greedy"] == "fails"
    assert verdicts["greedy levels off at a reward of about 1"] == "fails"
    assert "fails" in {v for c, v in verdicts.items() if "80%" in c}
    assert "Fails: greedy levels off" in sentences(checks)[0]
    assert statements(BanditConfig(arms=5), book) == []


def test_a_model_plays_as_a_plain_loop_does() -> None:
    """Metrics and curves of both halves of the problems, against arithmetic in Python."""
    config = BanditConfig(
        seeds=2, batch_size=6, arms=3, steps=20, evaluations=2, points=10, drift=0.3
    )
    judged = played(training(config, "softmax", [0.5]))
    chosen = jax.jit(functools.partial(choose, "softmax"))
    parameter = jnp.float32(0.5)
    happened = np.zeros((6, 20, 3))
    first: Any = Bandits(config).initial(1, {}).games
    for problem in range(6):
        estimates, counts = np.zeros(3), np.zeros(3)
        true = np.asarray(first.values[problem], np.float64)
        blank = jax.tree.map(lambda leaf, p=problem: jnp.asarray(leaf[p]), first.memory)
        for step in range(20):
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), step), problem)
            memory = blank._replace(estimates=jnp.float32(estimates))
            given = (jax.random.fold_in(key, 0), memory, true.astype(np.float32), step, parameter)
            action = int(chosen(*given))
            reward = true[action] + float(jax.random.normal(jax.random.fold_in(key, 2 + action)))
            counts[action] += 1
            estimates[action] += (reward - estimates[action]) / counts[action]
            regret = true.max() - true[action]
            happened[problem, step] = reward, regret == 0, regret
            true += 0.3 * np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (3,)))
    for split, half in enumerate((happened[:3], happened[3:])):
        found = judged[2 + split]
        reward, optimal, regret = np.moveaxis(half.mean(axis=0), 1, 0)
        assert found.metrics == pytest.approx(
            {
                "regret": regret.sum(),
                "reward": reward.mean(),
                "optimal": optimal.mean(),
                "late_reward": reward[-2:].mean(),
                "late_optimal": optimal[-2:].mean(),
            },
            abs=1e-4,
        )
        curve = reward.reshape(10, 2).mean(axis=1)
        np.testing.assert_allclose(found.details["curves"]["reward"], curve, atol=1e-5)


def test_regret_is_known_for_choice_at_random() -> None:
    regret, optimal = (values(short("epsilon", 1.0), name) for name in ("regret", "optimal"))
    # The largest of ten standard normals is 1.53875 on average, and a random one 0.
    mean, error = regret.mean() / 60, regret.std() / 60 / np.sqrt(8)
    assert abs(mean - 1.53875) < 5 * error
    assert abs(optimal.mean() - 0.1) < 4.5 * np.sqrt(0.09 / (800 * 60))


def test_at_a_step_an_action_gives_every_policy_the_same_reward(key: jax.Array) -> None:
    many, arms = 200, 4
    keys = jax.random.split(key, many)
    first = Bandits(BanditConfig(arms=arms, batch_size=many)).initial(0, {}).games
    config, step = BanditConfig(arms=arms), jnp.int32(0)

    def happened(family: Family) -> Any:
        one = functools.partial(take_action, family, config)
        every = jax.jit(jax.vmap(one, in_axes=(0, 0, None, None)))
        game: Game
        game, found = every(jax.tree.map(jnp.asarray, first), keys, step, jnp.float32(1.0))
        return np.asarray(game.memory.counts).argmax(axis=1), found

    (actions, oracle), (others, random) = happened("oracle"), happened("epsilon")
    same = actions == others
    assert 20 < same.sum() < 80
    np.testing.assert_allclose(oracle.reward[same], random.reward[same], rtol=1e-5, atol=1e-6)
    assert not np.isclose(oracle.reward[~same], random.reward[~same]).any()
    # The oracle takes the best action, by the true values.
    assert np.array_equal(actions, first.values.argmax(axis=1))
    assert not np.asarray(oracle.regret).any()
    assert np.asarray(oracle.optimal).all()


def test_a_model_goes_on_from_a_saved_state_to_the_same_figures(tmp_path: Path) -> None:
    made = training(SHORT, "epsilon", [1.0])
    steps = made.programs.block
    assert 0 < steps < SHORT.steps
    with open_checkpoints(tmp_path / "states", lambda _: None) as kept:
        first = next(iter(made.run(made.begin(), 0, lambda _: None)))
        kept.save(steps, first.saved)
        kept.wait()
        again = kept.newest(made.begin())
    assert again is not None
    *_, ended = made.run(again[1], again[0], lambda _: None)
    judged = made.judge(ended.saved.state.params, "test")
    assert [j.metrics for j in judged] == [j.metrics for j in short("epsilon", 1.0)[1::2]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the command."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.py").write_text(TINY)
    assert cli.main(["compare", str(folder / "tiny.py"), "--out", str(folder / "whole")]) == 0
    return folder / "whole"


def test_a_run_tunes_what_has_a_parameter_to_choose_and_shows_its_parts(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    found = {c["name"]: c for c in results["contenders"]}
    assert list(found) == ["epsilon_0.1", "greedy", "softmax_0.5", "softmax_tuned"]
    assert {c["status"] for c in found.values()} == {"trained"}
    assert [name for name, c in found.items() if c["tuning"]] == ["softmax_tuned"]
    chosen = found["softmax_tuned"]["tuned"]["parameter"]
    assert chosen in [t["tuned"]["parameter"] for t in found["softmax_tuned"]["tuning"]["trials"]]
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    tests = {
        name: [r for r in lines if r["kind"] == "test" and r["contender"] == name] for name in found
    }
    gaps = [
        one["metrics"]["regret"] - other["metrics"]["regret"]
        for one, other in zip(tests["greedy"], tests["epsilon_0.1"], strict=True)
    ]
    difference = found["greedy"]["differences"]["regret"]
    assert difference["estimate"] == pytest.approx(np.mean(gaps))
    text = (finished / "report.html").read_text()
    shown = text.split('<script type="application/json"')[0].split("<summary>config.json")[0]
    assert "Not checked: this is not the book" in shown
    assert "Regret over the parameter" in shown
    assert f"<code>softmax_tuned</code> ({chosen:.3g})" in shown
    assert "3 contenders have nothing to choose" in shown
    assert "learning rate" not in shown.lower()
    names = {path.stem for path in (finished / "plots").glob("*.svg")}
    assert {"book_reward", "book_optimal", "parameters", "curves_train_loss"} <= names


def test_the_books_part_shows_each_statement(book: dict[str, Curves], finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    blocks = {
        name: [
            {"kind": "test", "curves": {n: v.tolist() for n, v in rows.items()}}
            for rows in (
                {**{n: c[s] for n, c in curves.items()}, "regret": curves["reward"][s]}
                for s in range(2 * BOOK.seeds)
            )
        ]
        for name, curves in book.items()
    }
    contenders = [c for c in results["contenders"] if c["name"] in blocks]
    contenders.append({**contenders[0], "name": "epsilon_0.01", "fixed": {"parameter": 0.01}})
    part, more = parts(BOOK, {**results, "contenders": contenders}, blocks)
    assert part.findings == ["Of 8 statements of the book on its curves, 8 hold."]
    assert part.body.count("more.book.checks[") == len(part.figures["checks"]) == 8
    assert "greedy levels off at a reward of about 1" in part.markdown
    assert max(map(len, part.markdown.splitlines())) <= 118
    assert set(part.drawings) == {"book_reward", "book_optimal"}
    # The least regret by estimate is no finding.
    assert more.findings == []
    # A figure leads to the policy that the statement is about; what is expected is the book's.
    records = report_tables.records({**results, "contenders": contenders}, {})
    page = section("Book", part.body) + section("Records", records, "records")
    found = linked_cells(page, but={"Expected"})
    assert found == [("Found", f"#records-{s.policy}") for s in STATEMENTS if s.policy in book]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--variants", "gredy"), ["unknown variant 'gredy'", "did you mean 'greedy'?"]),
        (("--epsilons", "1.5"), ["epsilons", "probabilities", "(1.5,)"]),
        (("--temperatures", "0"), ["temperatures", "positive numbers"]),
        (("--tuning-steps", "10"), ["tuning_steps", "0 or steps (1000)", "got 10"]),
        (("--ucb", "-1"), ["ucb", "0 or more"]),
        (("--ucb", "2", "2"), ["ucb", "different"]),
        (("--gradient", "nan"), ["gradient", "nan"]),
        (("--arms", "1"), ["arms", "at least 2", "got 1"]),
        (("--points", "15"), ["points", "a multiple of 10", "got 15"]),
        (("--steps", "140"), ["steps", "a multiple of points (100)", "got 140"]),
        (("--batch-size", "7"), ["batch_size", "an even number", "got 7"]),
        (("--step-size", "2"), ["step_size", "between 0 and 1"]),
        (("--drift", "-1"), ["drift", "0 or more"]),
    ],
)
def test_mistake_in_a_config_gets_one_line(
    flags: tuple[str, ...],
    expected: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert cli.main(["compare", BANDIT, "--out", str(tmp_path / "run"), *flags]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    for part in ("error: ", *expected):
        assert part in captured.err
    assert not (tmp_path / "run").exists()


def test_help_describes_every_field() -> None:
    assert set(field_help(BanditConfig)) == set(field_types(BanditConfig))


@pytest.mark.slow
def test_the_page_is_readable_in_a_browser(finished: Path, tmp_path: Path) -> None:
    expect_readable(finished / "report.html", tmp_path)
