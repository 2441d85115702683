"""What tests of reports read from their pages."""

from collections.abc import Collection
from html.parser import HTMLParser


class Page(HTMLParser):
    """Collects attributes, and checks that every element is closed."""

    void = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def values(self, attribute: str) -> list[str]:
        """The values of an attribute, in all elements."""
        return [value for _, name, value in self.attributes if name == attribute]


class Cells(HTMLParser):
    """Collects the cells of the tables of a page, but of those that are the records.

    Attributes:
      found: Of each cell its heading, the text outside links, and that of links with their targets.
      marks: What a link may lead to.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, list[tuple[str, str]]]] = []
        self.marks: set[str] = set()
        self._heads: list[str] = []
        self._column = 0
        self._where = ""
        self._target = ""
        self._drawing = self._records = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.marks |= {given["id"]} if "id" in given else set()
        if tag == "section":
            self._records = given.get("id") == "records"
        elif tag == "thead":
            self._heads, self._where = [], "head"
        elif tag == "th" and self._where == "head":
            self._heads.append("")
        elif tag == "tr":
            self._column = 0
        elif tag == "td" and not self._records:
            self._where = "cell"
            self.found.append((self._heads[self._column], "", []))
        elif tag == "a" and self._where == "cell":
            self._target = given["href"]
        elif tag == "svg":
            self._drawing = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._column += 1
        if tag in ("td", "thead"):
            self._where = ""
        elif tag == "a":
            self._target = ""
        elif tag == "svg":
            self._drawing = False

    def handle_data(self, data: str) -> None:
        if self._where == "head":
            self._heads[-1] += data
        elif self._where == "cell" and not self._drawing:
            heading, bare, links = self.found[-1]
            if self._target:
                links.append((data, self._target))
            else:
                self.found[-1] = (heading, bare + data, links)


def linked_cells(text: str, but: Collection[str] = ()) -> list[tuple[str, str]]:
    """Returns heading and target of the cells with numbers, after a look at all but some columns.

    Args:
      text: A page.
      but: The headings of columns whose numbers were not measured.
    """
    page, found = Cells(text), []
    for heading, bare, links in page.found:
        if heading in but:
            continue
        assert not any(map(str.isdigit, bare)), f"{heading}: {bare!r} is in no link"
        targets = {target for _, target in links}
        assert len(targets) <= 1
        for target in targets:
            if target.startswith("#"):
                assert target[1:] in page.marks, f"{heading}: {target} is not on the page"
            found.append((heading, target))
    return found
