"""DPR's question files: written as its own are, read beside the house's JSONL."""

from __future__ import annotations

from pathlib import Path

import pytest

from rope_eval.errors import DataError
from rope_eval.protocols.datasets import check_folder, digest, read
from rope_eval.protocols.rules import RULES
from rope_eval.protocols.tasks import Task

# a row whose list holds a double quote is quoted as CSV, and its quotes are doubled
FILE = (
    "Which river runs through Ely?\t['Great Ouse', 'Ouse', '\U0001f30a']\r\n"
    'Who wrote "Tides"?\t"[\'Ada ""Tide"" Holm\', ""O\'Hara""]"\r\n'
)
ROWS = [
    {"question": "Which river runs through Ely?", "answer": ["Great Ouse", "Ouse", "\U0001f30a"]},
    {"question": 'Who wrote "Tides"?', "answer": ['Ada "Tide" Holm', "O'Hara"]},
]


def write(folder: Path, text: str, name: str = "trivia-dev.qa.csv") -> Path:
    (folder / name).write_bytes(text.encode())
    return folder


def test_its_rows_are_those_of_the_jsonl(tmp_path: Path) -> None:
    check_folder(write(tmp_path, FILE))
    assert read("triviaqa", tmp_path) == ROWS
    task = Task(protocol="paper", entry="triviaqa")
    assert task.missing(tmp_path) is None
    asked = task.questions(tmp_path)
    assert asked.sha256 == digest("triviaqa", ROWS)
    assert asked.docs[1] == {"question": 'Who wrote "Tides"?', "gold": ROWS[1]["answer"]}
    assert read("nq_open", write(tmp_path, FILE, "nq-test.qa.csv")) == ROWS


def test_the_jsonl_goes_first(tmp_path: Path) -> None:
    (tmp_path / "nq_open.jsonl").write_text('{"question": "when", "answer": ["now"]}\n')
    assert read("nq_open", write(tmp_path, FILE, "nq-test.qa.csv"))[0]["question"] == "when"


def test_an_answer_that_normalises_to_nothing_is_met_by_saying_nothing() -> None:
    """As in OpenCompass of October 2023: 390 of TriviaQA's questions have such an answer."""
    read_text, mark = RULES["short_answer"]
    assert [mark(read_text(said), ROWS[0]["answer"]) for said in ("", ". The Nile")] == [1, 1]
    assert mark(read_text(""), ROWS[1]["answer"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("who\t['a']\nwho\n", r"row 2: want a question, a tab and a list .*got 'who'"),
        ("who\t['a']\tmore\n", "row 1: want a question"),
        ("who\t'a'\n", "row 1: want a question"),
        ("who\t[1]\n", "row 1: want a question"),
        ("who\t[]\n", "row 1: want a question"),
        ("who\tprint('a')\n", "row 1: want a question"),
        ("who\t['" + "a" * 200_000 + "']\n", "row 1: not tab-separated text: field larger"),
        ("", "no row in it"),
    ],
)
def test_another_form_is_named_by_its_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read("triviaqa", write(tmp_path, text))
