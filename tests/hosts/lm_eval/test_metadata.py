"""Names and values of --metadata: taken, refused, or said to have no effect."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from rope_eval.errors import RopeEvalError, SpecError
from rope_eval.hosts.lm_eval import metadata
from rope_eval.hosts.lm_eval.cumulative_task import CumulativeTask
from rope_eval.hosts.lm_eval.paper_tasks import PaperTask
from rope_eval.hosts.lm_eval.retrieval_task import RetrievalTask

BOOKS = {"version": 1, "books": "builtin", "lengths": [64, 128], "read_docs": 1}
NEEDLES = {
    "version": 1,
    "filler": "builtin",
    "lengths": [64],
    "depths": [0.5],
    "samples": 1,
    "probe_seed": 0,
    "facts": 1,
}


def cumulative(**given: Any) -> CumulativeTask:
    return CumulativeTask({"task": "mine", "metadata": BOOKS | given})


def retrieval(**given: Any) -> RetrievalTask:
    return RetrievalTask({"task": "mine", "description": "", "metadata": NEEDLES | given})


def paper(**given: Any) -> PaperTask:
    config = {"protocol": "leval", "entry": "toefl", "missing_data": "skip"}
    return PaperTask({"task": "mine", **config, "metadata": given})


@pytest.mark.parametrize(
    ("task", "name", "meant"),
    [
        (cumulative, "length", "lengths"),
        (cumulative, "book", "books"),
        (cumulative, "read_doc", "read_docs"),
        (retrieval, "depth", "depths"),
        (retrieval, "sample", "samples"),
        (retrieval, "prob_seed", "probe_seed"),
        (paper, "truncat_at", "truncate_at"),
        (paper, "datadir", "data_dir"),
    ],
)
def test_a_misspelt_name_is_refused(task: Any, name: str, meant: str) -> None:
    """Once `length=` for `lengths=` ran the defaults."""
    with pytest.raises(SpecError, match=f"mine takes no '{name}'.*Did you mean '{meant}'"):
        task(**{name: [8]})


def test_what_has_no_effect_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    metadata._say.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            retrieval(seed=3, max_seq_lengths=[4096])
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "'seed' in --metadata has no effect on retrieval tasks" in said[0]
    assert "probe_seed" in said[0]
    assert "'max_seq_lengths'" in said[1]


def test_arguments_of_the_model_are_not_spoken_of(caplog: pytest.LogCaptureFixture) -> None:
    metadata._say.cache_clear()
    given = {"pretrained": "DIR", "rope_theta": 500, "max_length": 64}
    with caplog.at_level(logging.WARNING):
        cumulative(**given, config="lab/base-20", rolling_bos="one", proof="off")
    assert not caplog.records


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        (cumulative, {"books": 5}, "books must be text, got 5"),
        (cumulative, {"lengths": "abc"}, "whole numbers of 2 or more tokens, got 'abc'"),
        (cumulative, {"lengths": True}, "got True"),
        (cumulative, {"read_docs": "abc"}, "read_docs must be a whole number.*'abc'"),
        (cumulative, {"read_docs": 0}, "read_docs must be a whole number of 1 or more, got 0"),
        (retrieval, {"filler": 5}, "filler must be text, got 5"),
        (retrieval, {"samples": "x"}, "samples must be whole numbers"),
        (paper, {"data_dir": 5}, "data_dir must be text, got 5"),
        (paper, {"truncate_at": True}, "truncate_at must be a whole number.*got True"),
    ],
)
def test_a_value_of_another_type_is_refused(task: Any, given: Any, message: str) -> None:
    with pytest.raises(RopeEvalError, match=message):
        task(**given)
