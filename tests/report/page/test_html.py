"""The page as HTML: one file, without the network, and without a word of others that acts."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from helpers import page_store
from rope_eval.errors import DataError
from rope_eval.report.page.build import page_of
from rope_eval.report.page.findings import find
from rope_eval.report.page.html import html_of
from rope_eval.report.page.model import Cell, Figure, Page, Panel, Sample, Section, Table

OURS = {"html", "head", "meta", "title", "style", "body", "a", "header", "div", "span", "button"}
OURS |= {"h1", "h2", "h3", "h4", "p", "dl", "dt", "dd", "nav", "ul", "li", "main", "section"}
OURS |= {"table", "thead", "tbody", "tr", "th", "td", "small", "details", "summary", "script"}
OURS |= {"wbr", "span", "article", "pre", "figure", "figcaption", "noscript"}
LINKS = {"src", "href", "srcset", "action", "data", "poster", "background", "formaction"}
NASTY = [
    page_store.NASTY,
    "</script><script>document.title='hit'</script>",
    "</pre></style></title><svg onload=alert(1)>",
    "\"'><a href=javascript:alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "<!-- --><![CDATA[",
]


class Elements(HTMLParser):
    """What a browser would make of a text: elements, attributes, and the text between."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def packed(html: str, name: str) -> str:
    found = re.search(rf'<script type="text/plain" id="{name}">(.*?)</script>', html)
    assert found
    return gzip.decompress(base64.b64decode(found[1])).decode()


@pytest.mark.parametrize("nasty", NASTY)
def test_what_others_wrote_is_text_everywhere(nasty: str) -> None:
    html = html_of(page_with(nasty), figures=False)
    seen = Elements(html)
    plain = Elements(html_of(page_with("x"), figures=False))
    assert [tag for tag, _ in seen.found if tag != "wbr"] == [tag for tag, _ in plain.found]
    assert {tag for tag, _ in seen.found} <= OURS
    assert not [name for _, attrs in seen.found for name in attrs if name.startswith("on")]
    assert nasty in "".join(seen.words)
    assert json.loads(packed(html, "data"))["csv"]["t"].count("\n") == 2


def page_with(text: str) -> Page:
    cell = Cell(text=text, more=text, notes=(text,))
    panels = tuple(Panel(title=text, traces=(), layout={}) for _ in range(2))
    figure = Figure(name="f", title=text, caption=text, panels=panels, data=((text,),))
    parts = (
        Table(name="t", title=text, columns=(text,), rows=((cell,),), caption=text),
        Sample(title=text, prompt=text, texts=((text, text),)),
        figure,
    )
    return Page(
        title=text,
        facts=((text, text),),
        verdict=text,
        state="bad",
        sections=(Section(name="s", title=text, parts=parts),),
    )


def test_nothing_is_loaded_and_no_other_script_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = page_of(find(page_store.full(tmp_path)))
    html = html_of(page)
    seen = Elements(html)
    links = [v or "" for _, attrs in seen.found for k, v in attrs.items() if k in LINKS]
    assert links and all(link.startswith("#") for link in links)
    (policy,) = (a["content"] for t, a in seen.found if a.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy and "'unsafe-inline'" not in policy.split(";")[1]
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert len(html_of(page, figures=False).encode()) < 200_000


def test_the_same_page_is_the_same_bytes(tmp_path: Path) -> None:
    page = page_with("x")
    assert html_of(page, figures=False) == html_of(page, figures=False)


def test_plotly_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(DataError, match=r"pip install 'rope-eval\[report\]'.*--no-figures"):
        html_of(page_with("x"))
    assert 'data-figure="f"' not in html_of(page_with("x"), figures=False)


def test_numbers_are_what_scripts_sort_by() -> None:
    numbers: list[Any] = [1e-7, float("inf"), float("-inf"), 1e22]
    table = Table(
        name="t",
        title="",
        columns=("a",),
        rows=tuple((Cell(text="x", number=number),) for number in numbers),
        labels=0,
    )
    page = Page(
        title="",
        facts=(),
        verdict="",
        state="",
        sections=(Section(name="s", title="", parts=(table,)),),
    )
    found = re.findall('data-number="(.*?)"', html_of(page))
    assert found == ["1e-07", "Infinity", "-Infinity", "1e+22"]
