"""The testbed: the book's curves, what every policy shares, and a run from end to end."""

import dataclasses
import functools
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import cli
from experiments.bandit import comparison
from experiments.bandit.checks import STATEMENTS, book_checks
from experiments.bandit.comparison import block_records, compare
from experiments.bandit.config import BanditConfig
from experiments.bandit.contenders import Contender, Family, all_contenders
from experiments.bandit.report import figures, sentences, write_report
from experiments.bandit.tables import all_tables
from experiments.bandit.testbed import (
    Played,
    Program,
    compile_program,
    play,
    play_all,
    problem_keys,
)
from experiments.base_config import field_help, field_types
from experiments.progress import Display
from experiments.run_directory import Record
from tests.experiments.browser import expect_readable

BANDIT = str(Path(__file__).parents[3] / "configs" / "bandit.py")
BOOK = BanditConfig(problems=1000)
SHORT = BanditConfig(problems=400, steps=50, points=10)
TINY = """
from experiments.bandit.config import BanditConfig

def get_config():
    return BanditConfig(
        policies=("greedy", "oracle", "softmax_0.5"), temperatures=(0.5,), arms=3, problems=20,
        steps=40, points=20,
    )
"""


@functools.cache
def played_short(family: Family, parameter: float) -> Played:
    return play_all(program_of(family), Contender("", family, parameter))


@functools.cache
def program_of(family: Family) -> Program:
    return compile_program(SHORT, family)


@pytest.fixture(scope="module")
def book() -> dict[str, Played]:
    """The policies of figure 2.2 on enough of the book's problems for its statements."""
    config = BOOK
    names = ("epsilon_0.1", "greedy", "epsilon_0.01")
    contenders = [all_contenders(config)[name] for name in names]
    program = compile_program(config, "epsilon")
    return {contender.name: play_all(program, contender) for contender in contenders}


def problems_of(played: dict[str, Played]) -> dict[str, Record]:
    return {name: block_records(BOOK, each, 0.0)[1] for name, each in played.items()}


def test_the_books_ordering_of_figure_2_2_is_reproduced(book: dict[str, Played]) -> None:
    checks = book_checks(BOOK, problems_of(book))
    assert len(checks) == len(STATEMENTS) - 1  # ucb takes no part here
    assert [c["verdict"] for c in checks] == ["holds"] * len(checks), checks


def test_the_statements_fail_where_the_curves_are_exchanged(book: dict[str, Played]) -> None:
    exchanged = {**book, "greedy": book["epsilon_0.1"], "epsilon_0.1": book["greedy"]}
    verdicts = {c["claim"]: c["verdict"] for c in book_checks(BOOK, problems_of(exchanged))}
    assert verdicts["in the long run ε = 0.1 earns more than greedy"] == "fails"
    assert verdicts["greedy levels off at a reward of about 1"] == "fails"
    assert "fails" in {v for c, v in verdicts.items() if "80%" in c}
    assert book_checks(BanditConfig(arms=5), problems_of(book)) == []


def test_regret_is_zero_for_the_oracle_and_known_for_choice_at_random() -> None:
    oracle, random = played_short("oracle", 0.0), played_short("epsilon", 1.0)
    assert not oracle.regret.any()
    assert (oracle.optimal == 1.0).all()
    # The largest of ten standard normals is 1.53875 on average, and a random one 0.
    regret = random.regret.mean(axis=1)
    assert abs(regret.mean() - 1.53875) < 4.5 * regret.std() / np.sqrt(400)
    assert abs(random.optimal.mean() - 0.1) < 4.5 * np.sqrt(0.09 / (400 * 50))
    # Paired: at every step the oracle's reward less the other's has the regret as its mean.
    gap = (oracle.reward - random.reward - random.regret).mean(axis=1)
    assert abs(gap.mean()) < 4.5 * gap.std() / np.sqrt(400)


def test_a_problem_depends_on_its_number_and_on_nothing_else() -> None:
    alone = jax.jit(functools.partial(play, "epsilon", SHORT))
    seventh = jax.random.fold_in(jax.random.key(SHORT.seed), 7)
    many = played_short("epsilon", 1.0)
    for name, values in alone(jnp.float32(1.0), seventh)._asdict().items():
        np.testing.assert_allclose(values, getattr(many, name)[7], rtol=1e-6)


def test_at_a_step_an_action_gives_every_policy_the_same_reward() -> None:
    config = dataclasses.replace(SHORT, problems=50, points=SHORT.steps)
    families: tuple[Family, ...] = ("oracle", "epsilon")
    oracle, random = (
        play_all(compile_program(config, family), Contender("", family, 1.0)) for family in families
    )
    same = random.regret == 0
    assert same.mean() > 0.05
    # Two programs: the noise may differ in its last bits.
    np.testing.assert_allclose(random.reward[same], oracle.reward[same], rtol=1e-5, atol=1e-6)


def test_in_drifting_problems_the_best_action_changes() -> None:
    config = dataclasses.replace(SHORT, drift=0.5)
    drifting = play_all(compile_program(config, "epsilon"), Contender("greedy", "epsilon", 0.0))
    standing = played_short("epsilon", 0.0)
    assert drifting.regret[:, -1].mean() > 2.0 * standing.regret[:, -1].mean()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "tiny.py"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert cli.main(["compare", str(config), "--out", str(out)]) == 0
    return out


def results_of(run: Path) -> Any:
    """The results of a run without what is timed."""
    results = json.loads((run / "results.json").read_text())
    for contender in results["contenders"]:
        del contender["seconds"]
    return results


def test_a_run_that_was_cut_off_continues_to_the_same_figures(
    config: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, play_one = tmp_path / "run", comparison._play_one
    done: list[Any] = []

    def interrupted(*arguments: Any) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(arguments)
        play_one(*arguments)

    command = ["compare", str(config), "--out", str(out)]
    monkeypatch.setattr(comparison, "_play_one", interrupted)
    assert cli.main(command) == 130
    monkeypatch.undo()
    before = (out / "metrics.jsonl").read_bytes()
    (out / "metrics.jsonl").write_bytes(before + b'{"kind": "curves", "contender": "soft')
    assert cli.main(command) == 0
    assert (out / "metrics.jsonl").read_bytes().startswith(before)
    assert results_of(out) == results_of(finished)


def test_a_finished_run_prints_its_tables_and_changes_nothing(
    config: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (finished / name).read_bytes() for name in ("metrics.jsonl", "results.json")}
    assert cli.main(["compare", str(config), "--out", str(finished)]) == 0
    captured = capsys.readouterr()
    assert "nothing was trained" in captured.err
    assert "softmax_0.5" in captured.out
    assert max(len(line) for line in captured.out.splitlines()) <= 118
    assert before == {name: (finished / name).read_bytes() for name in before}


def test_differences_are_those_of_the_problems(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    regrets = {r["contender"]: np.asarray(r["regret"]) for r in lines if r["kind"] == "problems"}
    results = results_of(finished)
    assert results["comparisons"] == 2  # the oracle is compared with nothing
    found = {c["name"]: c for c in results["contenders"]}
    gaps = regrets["greedy"] - regrets["epsilon_0.1"]
    difference = found["greedy"]["differences"]["regret"]
    assert difference["estimate"] == pytest.approx(gaps.mean())
    assert found["oracle"]["differences"] == found["epsilon_0.1"]["differences"] == {}
    assert found["oracle"]["metrics"]["regret"]["estimate"] == 0.0
    last = found["greedy"]["curves"]["regret"]["estimate"][-1]
    assert last == pytest.approx(found["greedy"]["metrics"]["regret"]["estimate"], rel=1e-4)


def test_report_stands_alone_and_its_cells_show_what_their_titles_name(finished: Path) -> None:
    text = (finished / "report.html").read_text()
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", text)
    assert "Not checked: this is not the book" in text
    results = json.loads((finished / "results.json").read_text())
    pattern = r'<td title="(?:[\w ]+ · )?(contenders[\w.\[\]]+)" data-value="([^"]+)"'
    cells = re.findall(pattern, figures(results))
    assert len(cells) == 4 * 4 + 2
    for path, value in cells:
        found: Any = results
        for index, name in re.findall(r"\[(\d+)\]|(\w+)", path):
            found = found[int(index)] if index else found[name]
        assert float(value) == found["estimate"]
    names = {path.stem for path in (finished / "plots").glob("*.svg")}
    assert names == {"book", "parameters", "reward", "optimal", "regret"}
    for path in (finished / "plots").glob("*.svg"):
        root = ElementTree.fromstring(path.read_text())
        texts = "".join(e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text"))
        assert "epsilon" in texts


def test_checks_are_shown_where_the_testbed_is_the_books(
    book: dict[str, Played], finished: Path
) -> None:
    results = json.loads((finished / "results.json").read_text())
    results["checks"] = book_checks(BOOK, problems_of(book))
    assert "greedy levels off at a reward of about 1" in all_tables(results)[1]
    results["checks"][1]["verdict"] = "fails"
    assert "fails: greedy levels off" in " ".join(sentences(results))


def test_a_policy_that_fails_stays_in_the_table_with_the_reason(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise NotImplementedError("the arm is stuck")

    monkeypatch.setattr(comparison, "compile_program", broken)
    tiny = BanditConfig(policies=("oracle",), arms=3, problems=4, steps=20, points=10)
    compare(tiny, tmp_path / "run", Display())
    results = write_report(tmp_path / "run")
    assert {c["status"] for c in results["contenders"]} == {"failed"}
    assert "oracle (failed): NotImplementedError: the arm is stuck" in all_tables(results)[0]
    assert "the arm is stuck" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--policies", "gredy"), ["unknown policy 'gredy'", "did you mean 'greedy'?"]),
        (("--epsilons", "1.5"), ["epsilons", "probabilities", "(1.5,)"]),
        (("--temperatures", "0"), ["temperatures", "positive numbers"]),
        (("--ucb", "-1"), ["ucb", "0 or more"]),
        (("--ucb", "2", "2"), ["ucb", "different"]),
        (("--gradient", "nan"), ["gradient", "nan"]),
        (("--arms", "1"), ["arms", "at least 2", "got 1"]),
        (("--points", "15"), ["points", "a multiple of 10", "got 15"]),
        (("--steps", "150"), ["steps", "a multiple of points (100)", "got 150"]),
        (("--step-size", "2"), ["step_size", "between 0 and 1"]),
        (("--drift", "-1"), ["drift", "0 or more"]),
    ],
)
def test_mistake_in_a_config_gets_one_line(
    flags: tuple[str, ...],
    parts: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert cli.main(["compare", BANDIT, "--out", str(tmp_path / "run"), *flags]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    for part in ("error: ", *parts):
        assert part in captured.err
    assert not (tmp_path / "run").exists()


def test_keys_of_problems_differ() -> None:
    data = jax.random.key_data(problem_keys(BanditConfig(problems=100)))
    assert len({tuple(row) for row in np.asarray(data).tolist()}) == 100


def test_help_describes_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["compare", BANDIT, "--help"])
    assert stopped.value.code == 0
    assert set(field_help(BanditConfig)) == set(field_types(BanditConfig))
    shown = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in shown for name in field_types(BanditConfig))


@pytest.mark.slow
def test_the_page_is_readable_in_a_browser(finished: Path, tmp_path: Path) -> None:
    expect_readable(finished / "report.html", tmp_path)
