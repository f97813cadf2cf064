"""The columns of Tables 3 to 5 as data sets of OpenCompass, from its own configurations."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from rope_eval.errors import DataError, SpecError, did_you_mean
from rope_eval.hosts.opencompass.environment import DATA_DIR
from rope_eval.protocols.datasets import PROMPTS
from rope_eval.protocols.tasks import GROUPS, Task, at_hand

HERE = "rope_eval.hosts.opencompass"
TEMPLATE = "opencompass.openicl.icl_prompt_template.PromptTemplate"
RETRIEVER = "opencompass.openicl.icl_retriever.ZeroRetriever"
PPL = "opencompass.openicl.icl_inferencer.PPLInferencer"
EXACT = ("nq", "triviaqa")  # OpenCompass 0.2 and later take any answer that holds the right one
log = logging.getLogger(__name__)


def paper(entry: str, data_dir: str | None = None) -> list[dict[str, Any]]:
    """Return a column of Tables 3 to 5, or a part or a group of them, as data sets.

    Prompts, inferencers and evaluators are OpenCompass's own, of the configuration that
    prompts.yaml names. The questions are those of the lm-eval tasks, and NQ and TriviaQA are
    marked by exact match, as in October 2023. TruthfulQA has no configuration of that kind: its
    prompts are ours.

    Args:
        entry: of protocol ``paper`` in prompts.yaml, or a group, of `protocols.tasks.GROUPS`:
            of a group those without data are left out, with a warning.
        data_dir: a folder to read instead of the hub, by default what the environment variable
            ROPE_EVAL_DATA_DIR says.

    Raises:
        DataError: for a configuration that this version of OpenCompass does not have.
        SpecError: for an unknown entry.
    """
    data_dir = data_dir or os.environ.get(DATA_DIR)
    groups = [name for protocol, name in GROUPS if protocol == "paper"]
    known = (*groups, *PROMPTS["paper"])
    if entry not in known:
        raise SpecError(f"protocol paper has no {entry!r}.{did_you_mean(entry, known)}")
    chosen = []
    for task, missing in at_hand("paper", entry, data_dir):
        if missing:
            log.warning("%s is left out: %s", task.name, missing)
        else:
            chosen.append(_dataset(task, _stock_of(task.entry)[task.subject], data_dir))
    return chosen


@functools.cache
def _stock_of(entry: str) -> dict[str | None, Any]:
    """Return OpenCompass's configurations of an entry's tasks, by their subjects."""
    strings = PROMPTS["paper"][entry]
    if "config" not in strings:
        return {None: _own(strings)}
    found = _stock(strings["config"])
    return {cfg["name"]: cfg for cfg in found} if entry == "mmlu" else {None: found[0]}


def _dataset(task: Task, stock: Mapping[str, Any], data_dir: str | None) -> dict[str, Any]:
    column = stock["reader_cfg"]["output_column"]
    infer, evaluation = dict(stock["infer_cfg"]), dict(stock["eval_cfg"])
    if "max_tokens" in task.strings:
        limit = {"max_out_len": task.strings["max_tokens"]}
        infer["inferencer"] = infer["inferencer"] | limit
    if task.entry in EXACT:
        evaluation = {"evaluator": {"type": f"{HERE}.scoring.RuleEvaluator"}}
        evaluation["evaluator"]["rule"] = task.strings["rule"]
    else:
        wrapped = {"type": f"{HERE}.scoring.ItemEvaluator"}
        evaluation["evaluator"] = wrapped | {"evaluator": evaluation["evaluator"]}
    return {
        "abbr": task.name,
        "type": f"{HERE}.data.PaperDataset",
        "entry": task.entry,
        "subject": task.subject,
        "data_dir": data_dir,
        "output_column": column,
        "reader_cfg": {
            "input_columns": stock["reader_cfg"]["input_columns"],
            "output_column": column,
            "train_split": "dev" if task.subject else "test",
            "test_split": "test",
        },
        "infer_cfg": infer,
        "eval_cfg": evaluation,
    }


def _own(strings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration in "ppl" mode for prompts that OpenCompass does not have."""
    template = dict(zip(strings["labels"], strings["choices"], strict=True))
    return {
        "reader_cfg": {"input_columns": ["question"], "output_column": "gold"},
        "infer_cfg": {
            "prompt_template": {"type": TEMPLATE, "template": template},
            "retriever": {"type": RETRIEVER},
            "inferencer": {"type": PPL},
        },
        "eval_cfg": {"evaluator": {"type": "opencompass.openicl.icl_evaluator.AccEvaluator"}},
    }


def _stock(name: str) -> list[dict[str, Any]]:
    """Return the data sets of one of OpenCompass's own configuration files."""
    if name not in _stock_files():
        raise DataError(
            f"this version of OpenCompass has no configuration {name}: pip install "
            "'rope-eval[opencompass]' brings the one that has"
        )
    lazy = ConfigDict.lazy  # reading a file inside another's `read_base` would reset it
    try:
        cfg = Config.fromfile(_stock_files()[name]).to_dict()
    finally:
        ConfigDict.lazy = lazy
    found: list[dict[str, Any]] = next(v for k, v in cfg.items() if k.endswith("_datasets"))
    return found


@functools.cache
def _stock_files() -> dict[str, Path]:
    import opencompass

    root = Path(opencompass.__path__[0], "configs", "datasets")
    return {file.stem: file for file in root.rglob("*.py")}
