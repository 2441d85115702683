"""One self-contained page: what the reports of all experiments are made of."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from experiments.run_directory import METRICS, RESULTS, write_json, write_text
from experiments.svg import STYLE, Drawing, sheet

Figures = dict[str, Any]
# The heading, the columns and the panels of each file of plots.
Plots = dict[str, tuple[str, int, Sequence[Drawing]]]
_ASSETS = Path(__file__).parent / "assets"


def page(title: str, facts: Mapping[str, str], sections: Sequence[str], results: Figures) -> str:
    """Returns the page: a heading with a few facts, the sections, and the results as data."""
    css = STYLE + (_ASSETS / "report.css").read_text(encoding="utf-8")
    script = (_ASSETS / "report.js").read_text(encoding="utf-8")
    # In a script element "<" could end the data early, or hide its end.
    data = json.dumps(results, separators=(",", ":")).replace("<", "\\u003c")
    shown = "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    head = f"<header><h1>{escape(title)}</h1><dl class='facts'>{shown}</dl></header>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{css}</style></head>"
        f"<body><main>{head}{''.join(sections)}</main>"
        f'<script type="application/json" id="results">{data}</script>'
        f"<script>{script}</script></body></html>\n"
    )


def write_page(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    sections: Sequence[str],
    results: Figures,
    plots: Plots,
    environment: Figures,
) -> None:
    """Writes the files that every report has: results.json, report.html, and the plots.

    Args:
      path: The run directory.
      title: The title of the page.
      facts: What stands under the title; the device and the revision are added.
      sections: The parts of the page; where the figures come from is added.
      results: The figures, with the `config` of the run.
      plots: The files of plots.
      environment: What env.json holds.
    """
    write_json(path / RESULTS, results)
    write_plots(path, plots)
    known = {**facts, **environment_facts(environment)}
    parts = [*sections, provenance(path, results["config"], environment)]
    write_text(path / "report.html", page(title, known, parts, results))


def environment_facts(environment: Figures) -> dict[str, str]:
    """Returns the device and the revision of a run."""
    revision = (environment.get("revision") or "unknown")[:10]
    dirty = " with local changes" if environment.get("dirty") else ""
    return {
        "Device": f"{environment.get('processor', 'unknown')}, {environment.get('cores')} cores",
        "Revision": revision + dirty,
    }


def section(title: str, content: str, identifier: str = "") -> str:
    """Returns a part of the page under a heading."""
    mark = f' id="{identifier}"' if identifier else ""
    return f"<section{mark}><h2>{title}</h2>{content}</section>"


def findings(sentences: Sequence[str]) -> str:
    """Returns a list of sentences, in which names stand between backquotes."""
    items = "".join(f"<li>{_code(sentence)}</li>" for sentence in sentences)
    return f"<ul class='findings'>{items}</ul>"


def method(points: Sequence[str]) -> str:
    """Returns a list of sentences in HTML on how it was done."""
    return "<ul class='method'>" + "".join(f"<li>{point}</li>" for point in points) + "</ul>"


def gallery(title: str, text: str, drawings: Sequence[Drawing]) -> str:
    """Returns a part of the page with small drawings side by side."""
    return section(title, f"<p>{text}</p>{panels(drawings)}")


def wide(drawing: Drawing) -> str:
    """Returns one large drawing, which scrolls in a box of its own on a narrow page."""
    return f"<div class='wide' tabindex='0'>{drawing.inline()}</div>"


def panels(drawings: Sequence[Drawing]) -> str:
    """Returns small drawings side by side, each under its title."""
    figures = "".join(
        f"<figure><figcaption>{escape(panel.title)}</figcaption>{panel.inline()}</figure>"
        for panel in drawings
    )
    return f"<div class='gallery'>{figures}</div>"


def switch(name: str, choices: Mapping[str, str]) -> str:
    """Returns parts of a page of which one is shown, the first at first; it needs no script.

    Args:
      name: A name of its own on the page.
      choices: The label of each part, and its HTML; up to 8 of them.
    """
    if len(choices) == 1:
        return next(iter(choices.values()))
    parts = []
    for number, label in enumerate(choices):
        mark = f"{name}-{number}"
        checked = "" if number else " checked"
        parts.append(f'<input type="radio" name="{name}" id="{mark}"{checked}>')
        parts.append(f'<label for="{mark}">{escape(label)}</label>')
    shown = "".join(f"<div>{content}</div>" for content in choices.values())
    return f"<div class='switch'>{''.join(parts)}{shown}</div>"


def write_plots(path: Path, plots: Plots) -> None:
    """Writes each group of panels that has any into an SVG file of the run."""
    (path / "plots").mkdir(exist_ok=True)
    for name, (heading, columns, drawings) in plots.items():
        if drawings:
            write_text(path / "plots" / f"{name}.svg", sheet(drawings, columns, heading))


def provenance(path: Path, config: Figures, environment: Figures) -> str:
    """Returns where the figures of a run come from."""
    digest = hashlib.sha256((path / METRICS).read_bytes()).hexdigest()
    text = (
        "<p>Every figure on this page is in <code>results.json</code>, and in this page's "
        "<code>#results</code> element; the title of a table cell is its path there. "
        "<code>python -m experiments report RUN</code> computes all of it anew from "
        "<code>metrics.jsonl</code>, whose SHA-256 is "
        f"<code>{digest}</code>.</p>"
    )
    for name, value in (("config.json", config), ("env.json", environment)):
        shown = escape(json.dumps(value, indent=1))
        text += f"<details><summary>{name}</summary><pre>{shown}</pre></details>"
    return section("Where the figures come from", text)


def _code(sentence: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(sentence, quote=False))
