"""The page as Markdown: read by a parser of Markdown, it is our tables and others' plain words."""

from __future__ import annotations

from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from helpers import page_store
from rope_eval.report.page.build import page_of
from rope_eval.report.page.findings import find
from rope_eval.report.page.markdown import escaped, fenced, markdown_of

PARSER = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")


def tokens(text: str) -> list[Token]:
    return [
        child
        for token in PARSER.parse(text)
        for child in ([token] if not token.children else [token, *token.children])
    ]


@pytest.mark.parametrize(
    "text",
    [
        page_store.NASTY,
        "a|b `c` *d* _e_ **f** ~~g~~",
        "![x](http://example.org/x.png) [y](javascript:alert(1))",
        "<!-- a --> &lt; \\ \\| &copy;",
    ],
)
def test_words_of_others_do_nothing(text: str) -> None:
    table = f"| a | b |\n| :-- | --: |\n| {escaped(text)} | 1 |"
    found = tokens(table)
    assert sum(token.type == "td_open" for token in found) == 2
    words = "".join(token.content for token in found if token.type.startswith("text"))
    assert words == f"ab{text}1"
    kinds = {token.type for token in found}
    assert not kinds & {"html_inline", "html_block", "image", "link_open", "code_inline", "s_open"}
    assert not kinds & {"em_open", "strong_open"}


def test_nobody_is_written_to() -> None:
    assert "@team" not in escaped("@team #12") and "#12" not in escaped("@team #12")


@pytest.mark.parametrize("text", ["```\n# hit\n```", "a\n````\n", "~~~"])
def test_a_block_of_code_is_not_ended_by_what_is_in_it(text: str) -> None:
    (block,) = PARSER.parse(fenced(text))
    assert block.type == "fence" and block.content == f"{text}\n"


def test_the_page_has_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = markdown_of(page_of(find(page_store.full(tmp_path))))
    found = tokens(text)
    assert not [t for t in found if t.type in ("html_inline", "html_block") and "img" in t.content]
    assert "<script" not in "".join(t.content for t in found if t.type.startswith("html"))
    assert "| piqa acc | rope\\_paper\\_mmlu\\_anatomy acc |" in text
    row = next(line for line in text.splitlines() if line.startswith("| me/model | ❌ 0.5000"))
    assert row.startswith("| me/model | ❌ 0.5000 (0.4038 … 0.5962) <sup>1, 2</sup> | ❌ 0.8000")
    assert "1. not to be told from chance, 0.5000\n2. 100 of 200 items" in text
    assert text.startswith("## ") and "\n\n❌ 8 runs, 5 of them proven;" in text
