"""docs/paper.md names every item of the paper once, and only commands that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rope_eval.cli import build_parser
from rope_eval.plans.plan import shipped
from rope_eval.report.published import NAMES

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "paper.md").read_text(encoding="utf-8")
STANDS_FOR = {"MODEL": "lab/pretrained", "FILE": "f.csv", "SRC": "builtin", "N": "8k"}
STANDS_FOR |= {"LENGTH": "8k", "DIR": "model"}


def commands(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return sorted(set(re.findall(r"`(rope-eval [^`\[…]+)`", text)))


@pytest.mark.parametrize("command", commands("paper.md") + commands("laws.md"))
def test_a_command_is_one_that_there_is(command: str) -> None:
    words = [STANDS_FOR.get(word, word) for word in shlex.split(command)[1:]]
    if words in (["continue"], ["attention"], ["report"], ["advise"]):
        return  # named, and not written out
    args = build_parser().parse_args(words)
    if words[0] == "run":
        assert str(args.plan) in shipped()
    if words[0] == "table":
        assert args.table in NAMES


def test_every_item_has_a_row() -> None:
    cells = [line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| ")]
    text = " ".join(cells)
    for figure in range(1, 13):
        assert f"Fig. {figure}" in cells
    named = {int(n) for n in re.findall(r"Eqs?\. (\d+)", text)}
    for first, last in re.findall(r"(\d+)(?: to |, )(\d+)", text):
        named |= set(range(int(first), int(last) + 1))
    assert set(range(1, 19)) <= named
    assert {"Table 1", "Table 2", "Tables 3, 4", "Table 5"} <= set(cells)
    assert {"A", "B.1", "B.2", "B.3", "C", "D", "E"} <= set(cells)
