"""A mistake gets one line that says what was expected and what came, and exit code 2."""

import dataclasses
from pathlib import Path

import pytest

from experiments import cli
from experiments.base_config import BaseConfig, field_types
from experiments.digits.config import DigitsConfig
from experiments.distributed import DistributedConfig
from experiments.engine.config import EngineConfig
from experiments.words.config import WordsConfig

CONFIGS = Path(__file__).parents[2] / "configs"
DIGITS, WORDS = str(CONFIGS / "digits.py"), str(CONFIGS / "words.py")


def one_error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Runs a command that has to fail as a user's mistake, and returns the line it prints."""
    assert cli.main(list(arguments)) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ["expected a command", "compare"]),
        (("compar",), ["'compar'", "did you mean 'compare'?"]),
        (("compare",), ["config"]),
        (("list", "--verbose"), ["unknown flag '--verbose'"]),
        (("compare", DIGITS, "more"), ["'more'"]),
        (("compare", DIGITS, "--seed", "3"), ["'--seed'", "did you mean '--seeds'?"]),
        (("compare", DIGITS, "--seeds"), ["--seeds", "expected one argument"]),
        (("compare", DIGITS, "--seeds", "ten"), ["--seeds", "an integer", "'ten'"]),
        (("compare", DIGITS, "--steps", "1.5"), ["--steps", "an integer", "'1.5'"]),
        (("compare", DIGITS, "--hidden", "8", "big"), ["--hidden", "an integer", "'big'"]),
        (("compare", DIGITS, "--smoothing", "low"), ["--smoothing", "a number", "'low'"]),
        (("compare", DIGITS, "--optimizer", "adan"), ["'sgd'", "did you mean 'adam'?"]),
        (("compare", DIGITS, "--seeds", "0"), ["seeds", "1 or more", "got 0"]),
        (("compare", DIGITS, "--test-fraction", "1.5"), ["test_fraction", "got 1.5"]),
        (("compare", DIGITS, "--validation-fraction", "0.9"), ["validation_fraction", "got 0.9"]),
        (("compare", DIGITS, "--temperatures", "0.1", "nan"), ["temperatures", "nan"]),
        (("compare", DIGITS, "--learning-rate-high", "1e-9"), ["learning_rate_high", "at least"]),
        (("train", DIGITS, "--variant", "sparsmax"), ["variants", "did you mean 'sparsemax'?"]),
        (("compare", DIGITS, "--evaluations", "7"), ["evaluations", "divisor of steps", "got 7"]),
        (("compare", DIGITS, "--bases", "-2"), ["bases", "positive", "-2.0"]),
        (("compare", DIGITS, "--variants", "sparsmax"), ["'sparsmax'", "mean 'sparsemax'?"]),
        (
            (
                "compare",
                DIGITS[:-4] + ".py",
            ),
            ["no config file", "did you mean", "digits.py"],
        ),
        (("compare", WORDS, "--hidden", "3"), ["unknown flag '--hidden'"]),
        (("compare", DIGITS, "--distributed", "slrum"), ["'slrum'", "did you mean 'slurm'?"]),
        (("compare", DIGITS, "--distributed", "manual"), ["distributed_coordinator", "host:port"]),
        (("compare", DIGITS, "--mesh.seeds", "3"), ["mesh_seeds", "divisor of seeds", "got 3"]),
        (("compare", WORDS, "--tasks", "ngram"), ["'--tasks'", "did you mean '--task'?"]),
        (("compare", WORDS, "--task", "n-gram"), ["'ngram', 'skipgram'", "mean 'ngram'?"]),
        (("compare", WORDS, "--optimizer", "adam"), ["optimizer", "'adagrad'", "got 'adam'"]),
        (("compare", WORDS, "--vocabulary", "many"), ["--vocabulary", "an integer", "'many'"]),
        (("compare", WORDS, "--vocabulary", "100"), ["num_sampled", "less than vocabulary"]),
        (("compare", WORDS, "--variants", "hufman"), ["'hufman'", "did you mean 'huffman'?"]),
        (("compare", WORDS, "--scaling", "1000", "500"), ["scaling", "rising"]),
        (("compare", WORDS, "--data.path", "no-such.txt"), ["no file or folder 'no-such.txt'"]),
        (("compare", WORDS, "--data.pat", "a"), ["'--data-pat'", "did you mean '--data-path'?"]),
        (("report", "no-such-run"), ["'no-such-run' is not a run"]),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, tuple) else None,
)
def test_mistake_gets_one_line_and_exit_code_2(
    arguments: tuple[str, ...],
    parts: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    line = one_error(capsys, *arguments)
    for part in parts:
        assert part in line


def test_text_with_few_words_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be " * 200)
    flags = ["--data.path", str(path), "--passage", "20", "--out", str(tmp_path / "run")]
    line = one_error(capsys, "compare", WORDS, *flags)
    assert "at least 10 words to choose from, got 5" in line
    assert not (tmp_path / "run").exists()


def test_batch_larger_than_training_part_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = str(tmp_path / "run")
    line = one_error(capsys, "compare", DIGITS, "--batch-size", "5000", "--out", out)
    assert "batch_size" in line
    assert "got 5000" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("import nothing_like_this", ["line 1", "nothing_like_this"]),
        ("def get_config(:", ["line 1", "SyntaxError"]),
        ("x = 1", ["get_config()"]),
        ("def get_config():\n    return 3", ["DigitsConfig", "int"]),
        (
            "from experiments.digits.config import DigitsConfig\n"
            "def get_config():\n    return DigitsConfig(sedes=3)",
            ["line 3", "'sedes'", "did you mean 'seeds'?"],
        ),
        (
            "from experiments.digits.config import DigitsConfig\n"
            "def get_config():\n    return DigitsConfig(seeds='3')",
            ["line 3", "seeds: expected an integer, got '3'"],
        ),
        (
            "from experiments.digits.config import DigitsConfig\n"
            "def get_config():\n    return DigitsConfig(temperatures=[0.1])",
            ["temperatures: expected a tuple of numbers, got [0.1]"],
        ),
    ],
)
def test_config_that_cannot_be_used_is_explained(
    text: str, parts: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(text)
    line = one_error(capsys, "compare", str(path), "--out", str(tmp_path / "run"))
    for part in ["wrong.py", *parts]:
        assert part in line


def test_overrides_reach_the_config_with_their_types() -> None:
    from experiments.overrides import Parser, add_overrides, given_overrides

    parser = Parser()
    add_overrides(parser, DigitsConfig)
    text = "--seeds 3 --hidden --temperatures 0.1 2 --optimizer sgd --variants a b"
    given = given_overrides(parser.parse_args(text.split()), DigitsConfig)
    assert given == {
        "seeds": 3,
        "hidden": (),
        "temperatures": (0.1, 2.0),
        "optimizer": "sgd",
        "variants": ("a", "b"),
    }
    assert isinstance(given["temperatures"][1], float)
    assert dataclasses.replace(DigitsConfig(), **given).seeds == 3


def test_a_dot_in_a_flag_is_a_hyphen() -> None:
    from experiments.overrides import Parser, add_overrides, given_overrides

    parser = Parser()
    add_overrides(parser, WordsConfig)
    for text in ("--data.path a.b/c.d x --quality 0.5", "--data-path a.b/c.d x --quality=0.5"):
        given = given_overrides(parser.parse_args(text.split()), WordsConfig)
        assert given == {"data_path": ("a.b/c.d", "x"), "quality": 0.5}


@pytest.mark.parametrize(
    ("arguments", "kind", "default"),
    [
        (("compare", "--help"), DigitsConfig, "[an integer; default: 300]"),
        (("compare", WORDS, "--help"), WordsConfig, "[one of 'ngram', 'skipgram'; default:"),
    ],
)
def test_help_names_type_and_default_of_every_field(
    arguments: tuple[str, ...],
    kind: type[BaseConfig],
    default: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    fields = [*field_types(kind)]
    if issubclass(kind, EngineConfig):
        fields += field_types(DistributedConfig)
    for name in fields:
        assert f"--{name.replace('_', '-')}" in text
    assert text.count("default:") == len(fields) + 2  # and --out, --retry-failed
    assert "How many independent repetitions" in text
    assert default in text


def test_list_prints_every_contender(capsys: pytest.CaptureFixture[str]) -> None:
    from experiments.digits.contenders import all_contenders

    assert cli.main(["list", DIGITS]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == list(all_contenders(DigitsConfig()))
    assert names[0] == "softmax"
    assert {"sparsemax", "entmax15", "entmax_1.25", "entmax_learned"} <= set(names)
    assert {"softmax_temperature_2", "softmax_base_10"} <= set(names)


def test_list_names_every_config_and_somebody_takes_part_in_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    configs = sorted(f"configs/{path.name}" for path in CONFIGS.glob("*.py"))
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()[:-2]
    assert [line.split()[0] for line in lines] == configs
    for config in configs:
        assert cli.main(["list", config]) == 0
        assert len(capsys.readouterr().out.splitlines()) >= 2, config
