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
from rope_eval.protocols.datasets import PROMPTS, SOURCES

DATA_DIR = "ROPE_EVAL_DATA_DIR"
HERE = "rope_eval.hosts.opencompass"
TEMPLATE = "opencompass.openicl.icl_prompt_template.PromptTemplate"
RETRIEVER = "opencompass.openicl.icl_retriever.ZeroRetriever"
PPL = "opencompass.openicl.icl_inferencer.PPLInferencer"
EXACT = ("nq", "triviaqa")  # OpenCompass 0.2 and later take any answer that holds the right one
LEVAL = ("gsm", "toefl", "topicret", "quality", "coursera")
SUPER_GLUE = ("boolq", "cb", "copa", "multirc", "rte", "record", "wic", "wsc", "axb", "axg")
SHORT = tuple(entry for entry in PROMPTS["paper"] if entry not in ("mmlu", *LEVAL))
GROUPS: Mapping[str, tuple[str, ...]] = {
    "super_glue": SUPER_GLUE,
    "short": SHORT,
    "leval": LEVAL,
    "all": (*SHORT, "mmlu", *LEVAL),
}
log = logging.getLogger(__name__)


def paper(entry: str, data_dir: str | None = None) -> list[dict[str, Any]]:
    """Return a column of Tables 3 to 5, or a part or a group of them, as data sets.

    Prompts, inferencers and evaluators are OpenCompass's own, of the configuration that
    prompts.yaml names. The questions are those of the lm-eval tasks, and NQ and TriviaQA are
    marked by exact match, as in October 2023. TruthfulQA has no configuration of that kind: its
    prompts are ours.

    Args:
        entry: of protocol ``paper`` in prompts.yaml, or a group: of a group those without
            data are left out, with a warning.
        data_dir: a folder to read instead of the hub, by default what the environment variable
            ROPE_EVAL_DATA_DIR says.

    Raises:
        DataError: for a configuration that this version of OpenCompass does not have.
        SpecError: for an unknown entry.
    """
    data_dir = data_dir or os.environ.get(DATA_DIR)
    if entry not in (*GROUPS, *PROMPTS["paper"]):
        raise SpecError(
            f"protocol paper has no {entry!r}.{did_you_mean(entry, (*GROUPS, *PROMPTS['paper']))}"
        )
    chosen = []
    for one in GROUPS.get(entry, (entry,)):
        for cfg in _column(one, data_dir):
            missing = _missing(cfg) if entry in GROUPS else None
            if missing:
                log.warning("%s is left out: %s", cfg["abbr"], missing)
            else:
                chosen.append(cfg)
    return chosen


def _column(entry: str, data_dir: str | None) -> list[dict[str, Any]]:
    strings = PROMPTS["paper"][entry]
    if entry == "mmlu":
        subjects: tuple[str | None, ...] = tuple(PROMPTS["mmlu_subjects"])
        stock = {cfg["name"]: cfg for cfg in _stock(strings["config"])}
    else:
        subjects = (None,)
        stock = {None: _stock(strings["config"])[0] if "config" in strings else _own(strings)}
    return [_dataset(entry, subject, stock[subject], data_dir) for subject in subjects]


def _dataset(
    entry: str, subject: str | None, stock: Mapping[str, Any], data_dir: str | None
) -> dict[str, Any]:
    column = stock["reader_cfg"]["output_column"]
    infer, evaluation = dict(stock["infer_cfg"]), dict(stock["eval_cfg"])
    if "max_tokens" in PROMPTS["paper"][entry]:
        limit = {"max_out_len": PROMPTS["paper"][entry]["max_tokens"]}
        infer["inferencer"] = infer["inferencer"] | limit
    if entry in EXACT:
        rule = PROMPTS["paper"][entry]["rule"]
        evaluation = {"evaluator": {"type": f"{HERE}.scoring.RuleEvaluator"}}
        evaluation["evaluator"]["rule"] = rule
    else:
        wrapped = {"type": f"{HERE}.scoring.ItemEvaluator"}
        evaluation["evaluator"] = wrapped | {"evaluator": evaluation["evaluator"]}
    return {
        "abbr": f"rope_paper_{entry}_{subject}" if subject else f"rope_paper_{entry}",
        "type": f"{HERE}.data.PaperDataset",
        "entry": entry,
        "subject": subject,
        "data_dir": data_dir,
        "output_column": column,
        "reader_cfg": {
            "input_columns": stock["reader_cfg"]["input_columns"],
            "output_column": column,
            "train_split": "dev" if subject else "test",
            "test_split": "test",
        },
        "infer_cfg": infer,
        "eval_cfg": evaluation,
    }


def _missing(cfg: Mapping[str, Any]) -> str | None:
    """Say which data of a data set is surely not there, without reading any."""
    subject = cfg["subject"]
    name = f"mmlu/{subject}_test" if subject else PROMPTS["paper"][cfg["entry"]]["data"]
    if cfg["data_dir"] is None:
        return None if SOURCES[name].repository else f"the hub does not have {SOURCES[name]}"
    file = Path(cfg["data_dir"]) / f"{name}.jsonl"
    return None if file.is_file() else f"there is no {file}"


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
