"""`python -m experiments bench [WHAT]`: which benchmark a command line names."""

import importlib
from collections.abc import Sequence

from experiments.bench import suite_command
from experiments.bench.suite_command import ALL, SUITES
from experiments.errors import UserError, did_you_mean

TARGETS = "targets"
# What is measured on its own, with flags of its own: `experiments.bench.NAME`.
PROGRAMS = {
    TARGETS: "the maps as ratios to jax.nn.softmax, beside what is aimed at; the default",
    "adaptive": "adaptive softmax beside torch's",
    "flash": "blockwise attention beside the form that writes all scores down",
    "gpt": "a step of the language model beside torch's",
    "linear": "losses of an output layer beside the forms that write all logits down",
    "rows": "steps that touch few rows of a table beside dense steps",
    "trees": "the building of trees",
    "words": "word vectors beside gensim's",
}


def others() -> str:
    """The names of all benchmarks and what they measure, a line each."""
    every = {**SUITES, ALL: "all of these suites", **PROGRAMS}
    lines = [f"  {name:<10} {what}" for name, what in every.items()]
    return "\n".join(["python -m experiments bench [NAME], each with a --help of its own:", *lines])


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark that the first argument names."""
    named = bool(argv) and not argv[0].startswith("-")
    name, rest = (argv[0], argv[1:]) if named else (TARGETS, argv)
    if not named and {"-h", "--help"} & set(argv):
        print(others(), end="\n\n")
    if name in SUITES or name == ALL:
        return suite_command.main(name, rest)
    if name in PROGRAMS:
        status = int(importlib.import_module(f"experiments.bench.{name}").main(rest))
        if not named:
            print(f"\nthere is more: python -m experiments bench {'|'.join((*SUITES, ALL))}")
        return status
    known = (*SUITES, ALL, *PROGRAMS)
    raise UserError(
        f"unknown benchmark {name!r}: expected one of {', '.join(known)}{did_you_mean(name, known)}"
    )
