"""Tasks of the protocols: names, questions, examples and groups, against rows written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import fixtures_paper
from rope_eval.errors import DataError, SpecError
from rope_eval.protocols import datasets
from rope_eval.protocols.tasks import Task, entries_of, tasks_of


def test_a_task_knows_its_questions_and_where_they_are(tmp_path: Path) -> None:
    folder = fixtures_paper.write(tmp_path)
    task = Task(protocol="paper", entry="mmlu", subject="anatomy")
    asked = task.questions(folder)
    assert task.name == "rope_paper_mmlu_anatomy"
    assert asked.docs == [
        {"input": "What is 0 in anatomy?", "A": "0", "B": "1", "C": "2", "D": "3", "gold": "A"}
    ]
    rows = datasets.read("mmlu/anatomy_test", folder)
    assert asked.sha256 == datasets.digest("mmlu/anatomy_test", rows)
    assert [shot["target"] for shot in task.shots(folder)] == ["A", "B", "C", "D", "A"]
    assert task.record() == {"protocol": "paper", "column": "MMLU", "config": "mmlu_ppl_ac766d"}
    assert task.record_of_data(folder) == {"data": "cais/mmlu anatomy test", "data_from": "folder"}
    assert task.record_of_data(None)["data_from"] == "hub"
    quality = Task(protocol="leval", entry="quality")
    assert (quality.name, quality.shots(folder)) == ("rope_leval_quality", [])


def test_too_few_examples_are_an_error(tmp_path: Path) -> None:
    file = fixtures_paper.write(tmp_path) / "mmlu" / "anatomy_dev.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:4]))
    with pytest.raises(DataError, match="anatomy_dev: 4 rows, want the 5 examples"):
        Task(protocol="paper", entry="mmlu", subject="anatomy").shots(tmp_path)


def test_what_is_surely_missing_is_said(tmp_path: Path) -> None:
    fixtures_paper.write(tmp_path, leave_out=("piqa",))
    piqa, trivia = (Task(protocol="paper", entry=entry) for entry in ("piqa", "triviaqa"))
    assert piqa.missing(tmp_path) == f"there is no {tmp_path / 'piqa.jsonl'}"
    assert piqa.missing() is None and trivia.missing(tmp_path) is None
    assert "the hub does not have the 8837 questions" in str(trivia.missing())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"protocol": "papers", "entry": "piqa"}, "no protocol 'papers'. Did you mean 'paper'"),
        ({"protocol": "leval", "entry": "piqa"}, "no entry of protocol leval 'piqa'"),
        ({"protocol": "paper", "entry": "mmlu"}, "no subject of MMLU 'None'"),
        ({"protocol": "paper", "entry": "mmlu", "subject": "anatomi"}, "Did you mean 'anatomy'"),
        ({"protocol": "paper", "entry": "piqa", "subject": "anatomy"}, "piqa has no subjects"),
    ],
)
def test_an_unknown_name_is_named(fields: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Task(**fields)


def test_groups_hold_every_entry_once_in_the_tables_order() -> None:
    every = entries_of("paper", "all")
    assert sorted(every) == sorted(datasets.PROMPTS["paper"])
    assert every[:3] == ("lambada", "boolq", "cb") and every[11:13] == ("hellaswag", "piqa")
    assert every[-6:] == ("mmlu", "gsm", "toefl", "topicret", "quality", "coursera")
    assert len(entries_of("paper", "super_glue")) == 10
    assert entries_of("leval", "all") == entries_of("paper", "leval")
    assert entries_of("paper", "piqa") == ("piqa",)
    assert sum(len(list(tasks_of("paper", entry))) for entry in every) == 82
