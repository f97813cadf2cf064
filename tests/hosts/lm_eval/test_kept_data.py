"""RULER's data: the same as lm-eval builds, built once."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from lm_eval.tasks.ruler import vt_utils
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rope_eval.errors import StoreError
from rope_eval.hosts.lm_eval import evaluate, kept_data
from rope_eval.hosts.lm_eval.kept_data import built_once, is_of_ruler, seeded
from rope_eval.paths import asset

LAB = asset("model_configs") / "lab"
GIVEN: dict[str, Any] = {"pretrained": str(LAB / "base-20"), "max_seq_lengths": [600, 800]}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(kept_data, "user_cache_path", lambda _: tmp_path)
    with seeded():
        yield tmp_path / "ruler"


@pytest.fixture
def build() -> Callable[..., Any]:
    """Return RULER's own builder of variable tracking, of fewer rows, that counts its calls."""
    code = compile(
        "def build(**given):\n"
        "    calls.append(given)\n"
        "    lengths = given.get('max_seq_lengths', [4096])\n"
        "    rows = [{'n': random.random(), 'm': int(np.random.randint(9999)), 'length': n}"
        " for n in lengths]\n"
        "    return {'test': Dataset.from_list(rows)}\n",
        vt_utils.__file__,
        "exec",
    )
    names: dict[str, Any] = {"calls": [], "random": random, "np": np, "Dataset": Dataset}
    exec(code, names)
    return names["build"]  # type: ignore[no-any-return]


def calls(build: Callable[..., Any]) -> int:
    return len(build.__globals__["calls"])


def again(build: Callable[..., Any], given: dict[str, Any] = GIVEN) -> tuple[list[Any], float]:
    """Return the rows from the first random numbers on, and the random number after them."""
    with seeded():
        rows = built_once(build, dict(given))["test"].to_list()
        return rows, random.random() + np.random.rand()


def test_the_second_time_is_read_and_equal(build: Callable[..., Any], cache: Path) -> None:
    first = again(build)
    assert again(build) == first
    assert calls(build) == 1
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    "given",
    [
        {"max_seq_lengths": [600]},
        {"pretrained": str(LAB / "another")},
    ],
)
def test_what_changes_the_rows_is_built_anew(
    build: Callable[..., Any], given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_data, "tokenizer_digest", lambda tokenizer: tokenizer.name_or_path)
    monkeypatch.setattr(
        "lm_eval.tasks.ruler.common_utils.get_tokenizer",
        lambda name: type("T", (), {"name_or_path": name}),
    )
    again(build)
    again(build, GIVEN | given)
    assert calls(build) == 2
    again(build, GIVEN | {"device": "cpu"})
    assert calls(build) == 2


def test_other_random_numbers_make_other_rows(build: Callable[..., Any]) -> None:
    rows, _ = again(build)
    with seeded():
        random.random()
        assert built_once(build, dict(GIVEN))["test"].to_list() != rows
    assert calls(build) == 2


def test_half_a_folder_is_none(
    build: Callable[..., Any], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "save_to_disk", full)
        with pytest.raises(StoreError, match="No space left on device"):
            again(build)
    assert list(cache.iterdir()) == []
    again(build)
    assert calls(build) == 2


def test_random_numbers_go_on_as_they_were() -> None:
    random.seed(5)
    expected = [random.random() for _ in range(2)]
    random.seed(5)
    assert random.random() == expected[0]
    with seeded():
        random.random()
    assert random.random() == expected[1]


def test_a_task_of_ruler_is_read_by_the_second_process(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the niah tasks, whose file this one includes, want packages that the tests do not have
    niah = ModuleType("prepare_niah")
    niah.generate_samples = niah.get_haystack = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lm_eval.tasks.ruler.prepare_niah", niah)
    words = Tokenizer(models.WordLevel({"unknown": 0}, unk_token="unknown"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(cache.parent / "words")
    given = {"pretrained": str(cache.parent / "words"), "max_seq_lengths": [1200]}

    task = evaluate.load_tasks("ruler_vt", given)["ruler_vt"]
    build = task.config.custom_dataset
    assert is_of_ruler(build)
    rows = task.dataset["test"].to_list()
    with seeded():
        assert build(**given)["test"].to_list() == rows
    assert [row["max_length"] for row in rows] == [1200] * 500

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(kept_data, "_keep", refused)
    again = evaluate.load_tasks("ruler_vt", given)["ruler_vt"]
    assert again.dataset["test"].to_list() == rows


def test_other_tasks_are_left_alone() -> None:
    assert not is_of_ruler(None)
    assert not is_of_ruler(again)
