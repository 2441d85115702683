"""Command-line flags for the fields of a config, with one clear line for each mistake."""

import argparse
import re
import sys
import typing
from collections.abc import Callable, Iterable
from typing import Any, Literal, NoReturn

from experiments.base_config import BaseConfig, describe_type, field_help, field_types
from experiments.errors import UserError, did_you_mean


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose mistakes are UserErrors, with a proposal where a flag is unknown."""

    def __init__(self, **kwargs: Any) -> None:
        # An abbreviated flag would change its meaning as soon as a field is added.
        super().__init__(allow_abbrev=False, **kwargs)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses as argparse does; a dot in a flag stands for a hyphen, as in `--data.path`."""
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args([_with_hyphens(text) for text in given], namespace)

    def error(self, message: str) -> NoReturn:
        """Raises a UserError instead of printing the usage and exiting."""
        unknown = re.fullmatch(r"unrecognized arguments: (\S+).*", message)
        if unknown and unknown[1].startswith("-"):
            flag = unknown[1].split("=")[0]
            raise UserError(f"unknown flag {flag!r}{did_you_mean(flag, self.flags())}")
        if unknown:
            raise UserError(f"expected no argument {unknown[1]!r} here; see --help")
        raise UserError(re.sub(r"^argument ", "", message))

    def flags(self) -> list[str]:
        """Returns every long flag that this parser knows."""
        return [flag for action in self._actions for flag in action.option_strings]


def _with_hyphens(argument: str) -> str:
    """Returns the argument, in which a flag has hyphens for dots."""
    name, equals, value = argument.partition("=")
    is_flag = re.fullmatch(r"--[a-z_]+([.-][a-z_]+)+", name)
    return (name.replace(".", "-") if is_flag else name) + equals + value


def flag(field: str) -> str:
    """Returns the flag of a field: `learning_rates` is `--learning-rates`."""
    return "--" + field.replace("_", "-")


def add_overrides(
    parser: argparse.ArgumentParser,
    config: type[BaseConfig],
    title: str = "overrides of the config file",
    about: str = "A flag wins over the file; the defaults below are those of a field that the file "
    "omits.",
) -> None:
    """Adds a flag for each field of a config; a flag that is not given changes nothing."""
    help_of, defaults = field_help(config), config()
    group = parser.add_argument_group(title, about)
    for name, kind in field_types(config).items():
        many = typing.get_origin(kind) is tuple
        default = getattr(defaults, name)
        shown = (" ".join(map(str, default)) if many else str(default)) or "none"
        text = (
            f"{help_of.get(name, name.replace('_', ' '))} [{describe_type(kind)}; default: {shown}]"
        )
        group.add_argument(
            flag(name),
            dest=name,
            default=argparse.SUPPRESS,
            metavar=_metavar(kind),
            nargs="*" if many else None,
            type=_converter(kind),
            help=text.replace("%", "%%"),
        )


def given_overrides(arguments: argparse.Namespace, config: type[BaseConfig]) -> dict[str, Any]:
    """Returns the fields that the command line sets, with the types that the config wants."""
    given = vars(arguments)
    return {
        name: tuple(given[name]) if isinstance(given[name], list) else given[name]
        for name in field_types(config)
        if name in given
    }


def _metavar(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return "{" + ",".join(typing.get_args(kind)) + "}"
    if typing.get_origin(kind) is tuple:
        return _metavar(typing.get_args(kind)[0])
    return {int: "INT", float: "NUMBER", str: "NAME"}[kind]


def _converter(kind: Any) -> Callable[[str], Any]:
    """Returns a conversion whose error says what was expected, what came, and what is near."""
    if typing.get_origin(kind) is tuple:
        return _converter(typing.get_args(kind)[0])

    def convert(text: str) -> Any:
        if typing.get_origin(kind) is Literal:
            choices: Iterable[str] = typing.get_args(kind)
            if text in choices:
                return text
            hint = did_you_mean(text, choices)
            raise argparse.ArgumentTypeError(f"expected {describe_type(kind)}, got {text!r}{hint}")
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"expected {describe_type(kind)}, got {text!r}"
            ) from None

    return convert
