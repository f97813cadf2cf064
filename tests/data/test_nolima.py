"""NoLiMa's needles and where they stand, in files of its form written by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rope_eval.data.nolima import OWN_TEMPLATE, Haystack, needles_of, read_nolima
from rope_eval.errors import DataError, LengthError

ENTRY: dict[str, Any] = {
    "id": "0001",
    "reasoning_type": "world_knowledge",
    "system_prompt": "",
    "task_template": "Read:\n{haystack}\nQ: {question}\nA:",
    "needle": "In spring {CHAR} mended a roof beside {1}.",
    "questions": {
        "onehop": "Which character has been to {2}?",
        "twohop": "Which character has been to {3}?",
    },
    "character_set": ["Nell", "Ruth", "Tom"],
    "tests": {
        "T1": {"input_args": ["the salt museum", "Lund", "Sweden"]},
        "T2": {"input_args": ["the tide mill", "Brest", "France"]},
    },
}
PLAIN = {
    "id": "0002",
    "needle": "The lamp by {1} is green.",
    "questions": {"direct": "What colour is the lamp?"},
    "tests": {"T1": {"input_args": ["the quay"], "gold_answers": ["green", "Green"]}},
}


def test_a_needle_is_made_for_each_question_and_test() -> None:
    first, second, *rest = needles_of([ENTRY, PLAIN])
    assert [first.name, second.name] == ["0001_T1_onehop", "0001_T2_onehop"]
    assert [one.name for one in rest] == ["0001_T1_twohop", "0001_T2_twohop", "0002_T1_direct"]
    assert second.question == "Which character has been to Brest?"
    text, question, golds = second.drawn(7)
    assert golds[0] in ENTRY["character_set"] and question == second.question
    assert text == f"In spring {golds[0]} mended a roof beside the tide mill."
    assert second.drawn(7) == second.drawn(7)
    assert {second.drawn(seed)[2][0] for seed in range(30)} == set(ENTRY["character_set"])
    plain = rest[-1]
    assert plain.drawn(0) == ("The lamp by the quay is green.", plain.question, ("green", "Green"))
    assert (first.template, plain.template) == (ENTRY["task_template"], OWN_TEMPLATE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tests": {"T1": {}}}, "needle 1 of the set: not as expected: KeyError: 'input_args'"),
        ({"questions": ["who"]}, "needle 1 of the set: not as expected: AttributeError"),
        ({"character_set": []}, "0001_T1_onehop: has no character_set"),
        ({"needle": "Nobody came."}, "0001_T1_onehop: has no gold_answers"),
        ({"task_template": "{question}"}, "a task_template needs {haystack} and {question}"),
        ({"task_template": "{haystack} {question} {x}"}, "other braces doubled: KeyError: 'x'"),
    ],
)
def test_an_entry_of_another_form_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        list(needles_of([ENTRY | change]))


# tokens are words, each with the space or the newline after it
BOOK = "".join(f"w{i}{chr(10) if i % 5 == 4 else ' '}" for i in range(60))
HAYSTACK = Haystack(text=BOOK, spans=[m.span() for m in re.finditer(r"\S+\s", BOOK)])


@pytest.mark.parametrize(
    ("length", "depth", "before", "after"),
    [
        (20, 0.0, range(0), range(1, 20)),  # the first token is the place, and ends no line
        (20, 0.5, range(4, 15), range(15, 24)),  # the first line that ends from 10.5 on: w14
        (20, 0.25, range(4, 10), range(10, 24)),
        (20, 1.0, range(4, 25), range(0)),
        (11, 0.75, range(1, 10), range(10, 12)),  # the line that ends at 9 = 0.75 * 12 itself
    ],
)
def test_a_needle_stands_on_a_line_of_its_own(
    length: int, depth: float, before: range, after: range
) -> None:
    found = HAYSTACK.around("NEEDLE.", length=length, depth=depth)
    head, tail = found.split(" NEEDLE.\n")
    assert head.split() == [f"w{i}" for i in before] and not head.endswith("\n")
    assert tail.split() == [f"w{i}" for i in after]


def test_lines_of_the_book_stay_whole() -> None:
    assert HAYSTACK.around("N.", length=20, depth=0.5).startswith("w4\nw5 w6 w7 w8 w9\nw10")
    assert "w14 N.\nw15" in HAYSTACK.around("N.", length=20, depth=0.5)


def test_a_short_book_is_an_error() -> None:
    with pytest.raises(LengthError, match="a book of 60 tokens has no 59 around a needle"):
        HAYSTACK.around("N.", length=59, depth=0.5)


def write(folder: Path) -> Path:
    (folder / "needlesets").mkdir(parents=True)
    (folder / "needlesets/needle_set.json").write_text(json.dumps([ENTRY, PLAIN]))
    (folder / "haystack/rand_shuffle").mkdir(parents=True)
    for n in (1, 2):
        (folder / f"haystack/rand_shuffle/rand_book_{n}.txt").write_text(f"b{n} " + BOOK)
    return folder


def test_a_folder_is_read_as_the_repository_is_laid_out(tmp_path: Path) -> None:
    data = read_nolima("needle_set", 2, str(write(tmp_path)))
    assert len(data.needles) == 5
    assert list(data.books.values()) == [f"b1 {BOOK}", f"b2 {BOOK}"]
    assert read_nolima("needle_set", 1, str(tmp_path)).sha256 != data.sha256
    with pytest.raises(DataError, match=r"rand_book_3\.txt: cannot be read"):
        read_nolima("needle_set", 3, str(tmp_path))
    (tmp_path / "needlesets/needle_set.json").write_text("{}")
    with pytest.raises(DataError, match="want a list of needles, got dict"):
        read_nolima("needle_set", 1, str(tmp_path))
    (tmp_path / "needlesets/needle_set.json").write_text("[")
    with pytest.raises(DataError, match="not valid JSON"):
        read_nolima("needle_set", 1, str(tmp_path))


def test_without_the_hub_a_folder_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked = []

    def unreachable(repository: str, name: str, repo_type: str) -> str:
        asked.append((repository, name, repo_type))
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(DataError, match=r"no network\. Where the hub is out of reach, put it at"):
        read_nolima("needle_set", 1)
    assert asked == [("amodaresi/NoLiMa", "needlesets/needle_set.json", "dataset")]
