"""Pages in a real browser: what they look like, what their scripts say, whether they fit."""

import json
import re
import shutil
import subprocess
import zlib
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-sync", "--disable-quic"),
)
PHONE, DESK = 390, 1200
# Stands before everything else of a page.
_LISTEN = """<script>
var errors = [];
addEventListener("error", (event) => errors.push(String(event.message)));
addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
</script>"""
# Stands after everything else: `%s` is the body of a function that a test asks for.
_TELL = """<script>
addEventListener("load", () => setTimeout(() => {
  const shown = (element) => element.offsetParent !== null;
  let facts = {};
  try { facts = (() => { %s })(); } catch (error) { errors.push(String(error)); }
  const small = [...document.querySelectorAll("p, li, td, th")].filter(shown)
    .filter((element) => parseFloat(getComputedStyle(element).fontSize) < 11).length;
  const scroll = document.documentElement.scrollWidth;
  parent.postMessage(JSON.stringify({errors, facts, inner: innerWidth, scroll, small}), "*");
}, 50));
</script>"""
# A window has a least width, which a phone is below; a frame has none.
_FRAME = """<!doctype html><title>silent</title><style>body {{ margin: 0 }}</style>
<script>addEventListener("message", (event) => {{ document.title = event.data; }});</script>
<iframe src="{page}" width="{width}" height="{height}" style="border: 0"></iframe>"""
_HEIGHT = 2000


class Rendered(NamedTuple):
    """A page as a browser shows it.

    Attributes:
      errors: What went wrong in its scripts.
      facts: What the asked-for script returned.
      inner: The width that the page has.
      scroll: The width that the page takes.
      small: How many paragraphs and cells have letters too small to read.
      pixels: The filtered bytes of the picture: hardly any but zeros where it is blank.
    """

    errors: list[str]
    facts: dict[str, Any]
    inner: int
    scroll: int
    small: int
    pixels: bytes

    @property
    def drawn(self) -> float:
        """The share of the picture's bytes that say something."""
        return 1.0 - self.pixels.count(0) / len(self.pixels)


def render(page: Path, folder: Path, width: int, script: str = "return {};") -> Rendered:
    """Shows a page in a browser without a screen; a test is skipped where there is none.

    Args:
      page: The page, which is left as it is.
      folder: An empty place for the browser's files.
      width: The width that the page has.
      script: The body of a function that is called on the page, and what it returns.
    """
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip(f"there is no browser: none of {', '.join(NAMES)}")
    text = page.read_text(encoding="utf-8").replace("<head>", f"<head>{_LISTEN}", 1)
    inner, outer, picture = (folder / n for n in ("inner.html", "outer.html", "picture.png"))
    inner.write_text(text.replace("</body>", f"{_TELL % script}</body>"), encoding="utf-8")
    frame = _FRAME.format(page=inner.name, width=width, height=_HEIGHT)
    outer.write_text(frame, encoding="utf-8")
    size = f"--window-size={max(width, 600)},{_HEIGHT}"
    where = (f"--user-data-dir={folder / 'user'}", size, "--virtual-time-budget=4000")
    wanted = (f"--screenshot={picture}", "--dump-dom", outer.as_uri())
    command = [browser, *FLAGS, *where, *wanted]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    told = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert told is not None, done.stderr
    found = json.loads(unescape(told[1]))
    return Rendered(**found, pixels=_pixels(picture.read_bytes()))


def expect_readable(page: Path, folder: Path) -> None:
    """A page renders, says nothing wrong, and fits a phone."""
    for width in (PHONE, DESK):
        place = folder / str(width)
        place.mkdir()
        found = render(page, place, width)
        assert found.errors == []
        assert found.inner == width
        assert found.scroll <= found.inner, f"wider than a window of {width}"
        assert found.small == 0
        assert found.drawn > 0.01


def _pixels(png: bytes) -> bytes:
    """The bytes of a picture as PNG filters them: zeros where neighbours are the same."""
    data, place = b"", 8
    while place < len(png):
        length = int.from_bytes(png[place : place + 4], "big")
        if png[place + 4 : place + 8] == b"IDAT":
            data += png[place + 8 : place + 8 + length]
        place += length + 12
    return zlib.decompress(data)
