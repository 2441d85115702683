"""The command line: `compare`, `train`, `sample`, `report`, `list`, and the benchmarks."""

import dataclasses
import importlib
import math
import os
import shlex
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments import distributed
from experiments.config_files import load_config
from experiments.digits.config import DigitsConfig
from experiments.distributed import DistributedConfig
from experiments.engine.config import EngineConfig
from experiments.errors import RunFailed, UserError, did_you_mean
from experiments.interrupts import Interrupted, exit_code, terminated_as_interrupted
from experiments.overrides import Parser, add_overrides, given_overrides
from experiments.shakespeare.config import SampleConfig, ShakespeareConfig

_DESCRIPTION = """\
Experiments with softmax variants.

  compare CONFIG   train every contender on real data, compare them, write a report
  train CONFIG     train one variant without tuning
  sample RUN       write text with a model that `train` made
  report PATH...   make the report of a run again; put several, or benchmarks, side by side
  list [CONFIG]    print the experiments, or who takes part in one of them
  bench [WHAT]     time maps, losses, heads, attention or steps on the device that is there
  aot CONFIG       compile training steps for a TPU that is not there: memory, FLOPs, collectives
  accuracy         measure the maps against references in higher precision

Each takes --help."""
_DRAWN = """\
The maps of the library with these names narrow down what is kept, in the order top-k, top-p,
min-p; entmax with alpha turns what is left into probabilities."""
_BENCH_REPORT = "runs/bench-report"
_SEVERAL = """\
Each of them runs the same command; docs/clusters.md shows how they are started."""
_COMMANDS = ("compare", "train", "sample", "report", "list", "bench", "aot", "accuracy")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code.

    That is 0, 1 for a run that cannot go on, 2 after a mistake of the user, 75 where another
    process of the run was lost, 130 after Ctrl-C and 143 after SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return distributed.leave(_guarded(arguments))


def _guarded(arguments: list[str]) -> int:
    try:
        with terminated_as_interrupted():
            return _dispatch(arguments)
    except RunFailed as error:
        print(f"error: {distributed.who()}{error}", file=sys.stderr)
        return 1
    except UserError as error:
        print(f"error: {distributed.who()}{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        if isinstance(stop, Interrupted) and stop.together:
            # One that went at once would be a lost process to those that still close their files.
            distributed.part()
        again = shlex.join(["python", "-m", "experiments", *arguments])
        goes_on = arguments[:1] in (["compare"], ["train"])
        more = f"; repeat `{again}` to go on where it stopped" if goes_on else ""
        print(f"{distributed.who()}interrupted{more}", file=sys.stderr)
        return exit_code(stop)
    except BrokenPipeError:
        # The reader of stdout has gone (`| head`); Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if not distributed.is_distributed():
            raise
        return distributed.print_failure(error)


def _dispatch(arguments: list[str]) -> int:
    parser = Parser(
        prog="python -m experiments",
        description=_DESCRIPTION,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", nargs="?", help="one of " + ", ".join(_COMMANDS))
    if arguments and not arguments[0].startswith("-"):
        command, rest = arguments[0], arguments[1:]
        match command:
            case "compare":
                return _compare(rest)
            case "train":
                return _train(rest)
            case "sample":
                return _sample(_sample_parser().parse_args(rest))
            case "report":
                return _report(_report_parser().parse_args(rest))
            case "list":
                return _list(_list_parser().parse_args(rest))
            case "aot":
                return _aot(rest)
            case "bench":
                return int(importlib.import_module("experiments.bench.command").main(rest))
            case "accuracy":
                return int(importlib.import_module("experiments.accuracy").main(rest))
        hint = did_you_mean(command, _COMMANDS)
        expected = ", ".join(_COMMANDS)
        raise UserError(f"unknown command {command!r}: expected one of {expected}{hint}")
    if not arguments:
        raise UserError(f"expected a command: {', '.join(_COMMANDS)}; see --help")
    parser.parse_args(arguments)
    return 0


def _compare_parser(kind: type[EngineConfig]) -> ArgumentParser:
    parser = _config_parser(
        "compare",
        "Trains every contender of a config, compares them, and writes a report.",
        "runs/CONFIG",
        kind,
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="train contenders again that failed in an earlier attempt [flag; default: no]",
    )
    add_overrides(parser, kind)
    return parser


def _train_parser(kind: type[EngineConfig]) -> ArgumentParser:
    description = "Trains one variant of a config, without tuning, and saves as it goes."
    parser = _config_parser("train", description, "runs/CONFIG-train", kind)
    parser.add_argument(
        "--variant",
        metavar="NAME",
        help="what is trained [a name that `list` prints; default: the first]",
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        metavar="NUMBER",
        help="its learning rate [a number; default: the middle of the config's range]",
    )
    add_overrides(parser, kind)
    return parser


def _config_parser(
    command: str, description: str, default: str, kind: type[EngineConfig]
) -> ArgumentParser:
    parser = Parser(
        prog=f"python -m experiments {command}",
        description=f"{description} Repeating the command continues a run that was interrupted.",
        epilog=f"These are the flags of the {kind.experiment}' configs; name a config of another "
        "experiment before --help to see its own.",
    )
    parser.add_argument("config", type=Path, help="a Python file with a function get_config()")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"the run directory [path; default: {default}]"
    )
    add_overrides(parser, DistributedConfig, "several processes", _SEVERAL)
    return parser


def _sample_parser() -> ArgumentParser:
    parser = Parser(
        prog="python -m experiments sample",
        description="Writes text with a model that `train` made.",
    )
    parser.add_argument("run", type=Path, help="a run directory of `train`")
    add_overrides(parser, SampleConfig, "how tokens are drawn", _DRAWN)
    return parser


def _report_parser() -> ArgumentParser:
    parser = Parser(
        prog="python -m experiments report",
        description="Makes the report of a run again, without training: results.json, report.html, "
        "report.md, tables and plots. Several runs are put side by side in --out, and so are files "
        "that `bench` wrote, one or several.",
    )
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="a run directory, such as runs/digits, or a file of `bench`, such as runs/bench.jsonl",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where the report of several runs or of benchmarks goes [path; default: none, one run "
        f"has its own; {_BENCH_REPORT} for benchmarks]",
    )
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="a Markdown page whose end the tables of benchmarks replace [path; default: none]",
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="write event files for TensorBoard too, into RUN/tensorboard [flag; default: no]",
    )
    return parser


def _list_parser() -> ArgumentParser:
    parser = Parser(
        prog="python -m experiments list",
        description="Prints the experiments, or who takes part in one of them.",
    )
    parser.add_argument(
        "config", type=Path, nargs="?", help="a config file [path; default: none, all are named]"
    )
    parser.add_argument(
        "--markdown",
        action="store_true",
        help="print the README's table of the maps instead [flag; default: no]",
    )
    return parser


def _compare(given: list[str]) -> int:
    config, arguments = _configured(given, _compare_parser)
    path = arguments.out or Path("runs") / arguments.config.stem
    # jax takes seconds to import, which a mistyped flag should not have to wait for.
    from experiments.engine.comparison import compare
    from experiments.progress import Display

    display = Display()
    if not compare(config.with_reference(), path, display, arguments.retry_failed):
        display.note(f"{path} is finished: nothing was trained; remove it to start again")
    return _write(path)


def _train(given: list[str]) -> int:
    config, arguments = _loaded(given, _train_parser)
    path = arguments.out or Path("runs") / f"{arguments.config.stem}-train"
    config = _of_one(config, arguments)
    from experiments.engine.comparison import train
    from experiments.progress import Display

    display = Display()
    if not train(config, path, display):
        display.note(f"{path} is finished: nothing was trained; remove it to start again")
    _write(path)
    if isinstance(config, ShakespeareConfig) and distributed.is_writer():
        print(f"write text with: python -m experiments sample {path}")
    return 0


def _aot(given: list[str]) -> int:
    from experiments import aot
    from experiments.tpu_topologies import absent_tpu

    # jax reads where it runs when it is imported, which a config may do.
    with absent_tpu():
        config, arguments = _configured(given, aot.parser)
        return aot.run(config, arguments)


def _of_one(config: EngineConfig, arguments: Namespace) -> EngineConfig:
    """Returns the config of one variant, with one seed unless told."""
    # What is given wins over what an experiment takes for `train` alone.
    changes: dict[str, Any] = {"seeds": 1, **given_overrides(arguments, type(config))}
    if "variants" in changes and arguments.variant:
        raise UserError("--variant, --variants: expected one of the two flags")
    named = changes.get("variants", config.variants)
    chosen = arguments.variant or (named or (config.make_variants()[0].name,))[0]
    if len(named) > 1 and not arguments.variant:
        raise UserError(f"variants: expected one name for `train`, got {named}")
    rate = arguments.learning_rate
    if rate is not None:
        if not 0 < rate < math.inf:
            raise UserError(f"--learning-rate: expected a positive number, got {rate}")
        rates = ("learning_rate_low", "learning_rate_high")
        changes |= dict.fromkeys(rates, rate)
    one = config.of_one(chosen, **changes)
    one.chosen_variants()
    return one


def _configured(
    given: list[str], parser_of: Callable[[type[EngineConfig]], ArgumentParser]
) -> tuple[EngineConfig, Namespace]:
    """Returns the config of a file with the overrides of the command line, and all arguments."""
    config, arguments = _loaded(given, parser_of)
    return dataclasses.replace(config, **given_overrides(arguments, type(config))), arguments


def _loaded(
    given: list[str], parser_of: Callable[[type[EngineConfig]], ArgumentParser]
) -> tuple[EngineConfig, Namespace]:
    """Returns the config of a file as it stands there, and all arguments."""
    # Which flags there are depends on the config, so that it is loaded before they are read.
    named = next((Path(text) for text in given if text.endswith(".py")), None)
    config: EngineConfig = DigitsConfig() if named is None else load_config(named)
    arguments = parser_of(type(config)).parse_args(given)
    # Before anything starts jax's devices, as the task of an experiment may.
    distributed.initialize(DistributedConfig(**given_overrides(arguments, DistributedConfig)))
    return (load_config(arguments.config) if named is None else config), arguments


def _sample(arguments: Namespace) -> int:
    request = SampleConfig(**given_overrides(arguments, SampleConfig))
    from experiments.run_directory import read_config
    from experiments.shakespeare.writing import sample

    config = read_config(arguments.run)
    if not isinstance(config, ShakespeareConfig):
        whose = f"{arguments.run} is a run on {config.experiment}"
        raise UserError(f"{whose}, expected one of a language model")
    for piece in sample(arguments.run, config, request):
        print(piece, end="", flush=True)
    print()
    return 0


def _report(arguments: Namespace) -> int:
    files = [path for path in arguments.paths if path.is_file()]
    if not files:
        return _report_runs(arguments)
    if len(files) < len(arguments.paths):
        other = next(path for path in arguments.paths if not path.is_file())
        raise UserError(
            "expected run directories or files of `bench`, got both: "
            f"{str(files[0])!r} and {str(other)!r}"
        )
    if arguments.tensorboard:
        raise UserError("--tensorboard: benchmarks have no event files; expected run directories")
    from experiments.bench import report

    out = arguments.out or Path(_BENCH_REPORT)
    for table in report.write(files, out):
        print(table, end="\n\n")
    if arguments.page is not None:
        report.write_page(files, arguments.page)
    print(f"report: {out / 'report.html'}, report.md and report.csv beside it")
    return 0


def _report_runs(arguments: Namespace) -> int:
    runs, out = arguments.paths, arguments.out
    if arguments.page is not None:
        raise UserError("--page: runs have no page; expected files of `bench`")
    if len(runs) > 1 and out is None:
        raise UserError("--out: expected a directory for the report of several runs")
    if len(runs) == 1 and out is not None:
        raise UserError("--out: expected several runs; the report of one run goes into its own")
    if arguments.tensorboard:
        from experiments.engine.event_files import write_event_files

        for run in runs:
            print(f"event files: {write_event_files(run)}")
    if len(runs) == 1:
        return _write(runs[0])
    from experiments.engine.report import report_runs

    for table in report_runs(runs, out):
        print(table, end="\n\n")
    print(f"report: {out / 'report.html'}")
    return 0


def _write(path: Path) -> int:
    from experiments.engine.report import write_report

    tables = distributed.on_writer(lambda: write_report(path))
    if distributed.is_writer():
        print(*tables, sep="\n\n", end="\n\n")
        print(f"report: {path / 'report.html'}")
    return 0


def _list(arguments: Namespace) -> int:
    if arguments.markdown:
        from experiments.variant_table import variant_table

        print(variant_table(), end="")
        return 0

    from experiments.listing import contenders, experiments

    if arguments.config:
        print(contenders(load_config(arguments.config)))
    else:
        print(experiments())
        print("\nWho takes part in one of them: python -m experiments list CONFIG")
    return 0
