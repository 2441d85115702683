"""What an experiment adds to what the engine does: measurements, and parts of the report."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.run_directory import Record
from experiments.svg import Drawing

if TYPE_CHECKING:
    from experiments.engine.config import EngineConfig
    from experiments.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class Extra:
    """A measurement that `compare` makes when all variants are trained and timed.

    It is a block of the run of its own: made once; again where it failed and that is asked for,
    and where a variant was trained since then. Where several processes make a run, each of them
    makes the same records.

    Attributes:
      name: Its name; the block is `more/NAME`.
      work: From the open run, whose blocks have the variants' records, to the records of the block.
    """

    name: str
    work: "Callable[[RunDirectory[EngineConfig]], Sequence[Record]]"

    @property
    def block(self) -> str:
        """The name of its block."""
        return f"more/{self.name}"


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a report that an experiment adds; all of it follows from the records.

    Attributes:
      name: A short name: that of its figures, and of the link to it.
      title: Its heading.
      body: HTML.
      drawings: Pictures, which are files of their own too, by their names: a wide one, or small
        ones side by side.
      findings: Sentences for the summary; names stand between backquotes.
      figures: What `results.json` keeps, at `more.NAME`.
      tables: CSV files by their names.
      markdown: The same for the Markdown report and the terminal; empty for nothing.
    """

    name: str
    title: str
    body: str = ""
    drawings: Mapping[str, Drawing | Sequence[Drawing]] = dataclasses.field(default_factory=dict)
    findings: Sequence[str] = ()
    figures: Any = None
    tables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    markdown: str = ""
