"""What `--metadata` gives a task of ours: a mistake is named, before anything is read or drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rope_eval.errors import DataError, RopeEvalError, SpecError
from rope_eval.hosts.lm_eval.cumulative_task import CumulativeTask
from rope_eval.hosts.lm_eval.local_task import LocalTask
from rope_eval.hosts.lm_eval.paper_tasks import PaperTask
from rope_eval.hosts.lm_eval.retrieval_task import RetrievalTask

CUMULATIVE = {"books": "builtin-chapters", "lengths": [64], "read_docs": 1}
RETRIEVAL = {
    **{"filler": "builtin", "lengths": [301], "depths": [0.5], "samples": 1},
    **{"probe_seed": 0, "facts": 1},
}


def task(kind: type[LocalTask], **metadata: Any) -> Any:
    right = {CumulativeTask: CUMULATIVE, RetrievalTask: RETRIEVAL}.get(kind, {})
    config = {"task": "t", "description": "", "protocol": "paper", "entry": "piqa"}
    return kind(config | {"metadata": right | metadata})


@pytest.mark.parametrize(
    ("kind", "metadata", "message"),
    [
        (CumulativeTask, {"books": 5}, "books must be text, got 5"),
        (CumulativeTask, {"books": "no-such"}, "no books at 'no-such'"),
        (CumulativeTask, {"lengths": "abc"}, "lengths must be whole numbers .* got 'abc'"),
        (CumulativeTask, {"lengths": None}, "t needs lengths in its metadata"),
        (CumulativeTask, {"lengths": [64, {}]}, r"got \{\}"),
        (CumulativeTask, {"read_docs": "abc"}, "read_docs must be a whole number of 1 or more"),
        (CumulativeTask, {"read_docs": 0}, "1 or more, got 0"),
        (CumulativeTask, {"perplexity_protocol": "slide"}, "no perplexity protocol 'slide'"),
        (CumulativeTask, {"stride": 3}, "cumulative takes no stride"),
        (RetrievalTask, {"filler": 5}, "filler must be text, got 5"),
        (RetrievalTask, {"samples": "abc"}, "samples must be whole numbers"),
        (RetrievalTask, {"samples": 10**9}, "samples must be whole numbers, from 1 to 100000"),
        (RetrievalTask, {"facts": 400_000}, "facts must be whole numbers, from 1 to 10000"),
        (RetrievalTask, {"depths": None}, "t needs depths in its metadata"),
        (RetrievalTask, {"depths": ["a"]}, "depths must be numbers"),
        (PaperTask, {"data_dir": 5}, "data_dir must be text, got 5"),
        (PaperTask, {"data_dir": "x" * 300}, "holds none of the data sets"),
        (PaperTask, {"truncate_at": "abc"}, "truncate_at must be a whole number"),
        (PaperTask, {"truncation": []}, r"truncation must be one of .* got \[\]"),
    ],
)
def test_metadata_that_makes_no_sense(
    kind: type[LocalTask], metadata: dict[str, Any], message: str
) -> None:
    with pytest.raises(RopeEvalError, match=message):
        task(kind, **metadata)


def test_metadata_that_makes_sense() -> None:
    assert len(task(CumulativeTask, read_docs=2).test_docs()) == 2
    assert len(task(RetrievalTask, samples=3).test_docs()) == 3


def test_a_row_that_no_file_can_hold(tmp_path: Path) -> None:
    row = r'{"goal": "a\ud800", "sol1": "b", "sol2": "c", "label": 0}'
    (tmp_path / "piqa.jsonl").write_text(row)
    with pytest.raises(DataError, match=r"piqa\.jsonl, row 1: holds a lone surrogate"):
        task(PaperTask, data_dir=str(tmp_path))


def test_a_cumulative_task_is_cumulative() -> None:
    metadata = CUMULATIVE | {"perplexity_protocol": "blocks", "tokens": 640}
    with pytest.raises(SpecError, match="run perplexity_blocks with"):
        CumulativeTask({"task": "pg19_cumulative", "metadata": metadata})
