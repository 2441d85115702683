"""Every option says what it takes and what holds without it."""

import argparse
import re
from pathlib import Path

import pytest

from experiments import cli
from experiments.bench.command import PROGRAMS, TARGETS
from experiments.bench.suite_command import ALL, SUITES
from experiments.overrides import Parser

CONFIGS = sorted(Path(__file__).parents[2].joinpath("configs").glob("*.py"))
OF_A_CONFIG = ("compare", "train", "aot")
# As in the flags of the configs' fields: what is taken, and what there is without it.
PROMISED = re.compile(r"\[[^\[\]]+; default: [^\[\]]+\]$")
COMMANDS = [
    *([command, str(path)] for command in OF_A_CONFIG for path in CONFIGS),
    *([command] for command in cli._COMMANDS),
    *(["bench", name] for name in (*SUITES, ALL, *PROGRAMS)),
]


def parser_of(command: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    """The parser that answers a command's --help."""
    found: list[argparse.ArgumentParser] = []
    monkeypatch.setattr(Parser, "print_help", lambda self, file=None: found.append(self))
    with pytest.raises(SystemExit):
        cli.main([*command, "--help"])
    (parser,) = found
    return parser


@pytest.mark.parametrize(
    "command", COMMANDS, ids=lambda words: "-".join(Path(w).stem for w in words)
)
def test_every_option_names_its_type_and_its_default(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = parser_of(command, monkeypatch)
    # What `bench` measures without a name is called so too.
    named = [word for word in command if not word.endswith(".py") and word != TARGETS]
    assert parser.prog.split()[3:] == named
    silent = {
        action.option_strings[0]: action.help
        for action in parser._actions
        if action.option_strings and action.dest != "help"
        if not PROMISED.search(parser._get_formatter()._expand_help(action))
    }
    assert silent == {}
