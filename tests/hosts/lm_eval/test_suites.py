"""The long-context suites of the docs are in lm-eval's index, with as many tasks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rope_eval.errors import DataError
from rope_eval.hosts.lm_eval.evaluate import parts_of
from rope_eval.report.stored import NAMES
from rope_eval.results.metrics import length_of_task, measurement_of

PAGE = (Path(__file__).parents[3] / "docs" / "protocols.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Long-context suites")[2]
SUITES = re.findall(r"^\| [^|]+ \| `(\w+)` \| (\d+) \| ([^|]*)\|", SECTION, re.MULTILINE)


def test_every_suite_is_there() -> None:
    assert [name for name, *_ in SUITES] == [
        *("ruler", "longbench", "longbench_e", "longbench2"),
        *("babilong_longctx", "babilong", "infinitebench", "graphwalks", "nolima", "helmet_recall"),
    ]


@pytest.mark.parametrize(("name", "tasks", "metadata"), SUITES)
def test_a_suite_has_its_tasks_and_a_table(name: str, tasks: str, metadata: str) -> None:
    parts = parts_of(name)
    assert len(parts) == int(tasks)
    measurements = {measurement_of(part) for part in parts}
    assert measurements <= NAMES.keys()
    assert len(measurements) == (2 if name == "helmet_recall" else 1)  # three of its are RULER's
    if name.startswith("babilong_"):
        (given,) = re.findall("`({.*})`", metadata)
        assert length_of_task(parts[0], json.loads(given)) == 8192


def test_what_is_said_to_be_missing_is() -> None:
    with pytest.raises(DataError, match="lm-eval has no task"):
        parts_of("mrcr")
