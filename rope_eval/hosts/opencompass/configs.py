"""What OpenCompass is configured with: models of the catalogue, and the paper's data sets.

A file of `config_files` is one call of `models`, `paper` or `books`; a configuration of your own
can make the same calls with arguments. Configurations for ``read_base`` work too, as these
functions return plain dictionaries.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from rope_eval.errors import DataError, SpecError
from rope_eval.hosts.opencompass.columns import HERE, RETRIEVER, TEMPLATE, paper
from rope_eval.hosts.opencompass.environment import BOOKS, LENGTHS, TRUNCATION, check_environment
from rope_eval.hosts.opencompass.model import CALLER
from rope_eval.lengths import check_lengths
from rope_eval.paths import asset
from rope_eval.protocols.truncation import SIDES
from rope_eval.rope.spec import FIELDS
from rope_eval.setting import Setting, resolve

HOST = ("abbr", "batch_size", "max_out_len", "min_out_len", "pred_postprocessor", "run_cfg")
MODEL = replace(
    CALLER,
    name="a model",
    arguments=(*(name for name in CALLER.arguments if name != "config"), *HOST),
)
__all__ = ["books", "models", "paper"]


def models(*names: str, **settings: Any) -> list[dict[str, Any]]:
    """Return rows of the catalogue as models of OpenCompass.

    Args:
        *names: of rows.
        **settings: arguments of `ScalingRope`, and what OpenCompass takes of a model
            (``max_out_len``, ``batch_size``, ``run_cfg``), in the place of the defaults.

    Raises:
        DataError: for an unknown row, or one without a checkpoint.
        SpecError: for a RoPE setting that makes no sense.
    """
    check_environment()
    return [_model(name, settings) for name in names]


def model_at(path: str, **settings: Any) -> dict[str, Any]:
    """Return a model that is in no catalogue as a model of OpenCompass.

    Args:
        path: a directory, a GGUF file, or a name on the hub.
        **settings: as for `models`.

    Raises:
        SpecError: for a RoPE setting that makes no sense.
    """
    return _configured(Path(path).name, resolve(path, None, settings, caller=MODEL), settings)


def _model(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    setting = resolve(settings.get("path"), name, settings, caller=MODEL)
    return _configured(name, setting, {"config": name, **settings})


def _configured(name: str, setting: Setting, settings: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {
        "type": f"{HERE}.model.ScalingRope",
        "max_seq_len": 16384,
        "truncation": os.environ.get(TRUNCATION, "left"),
        "max_out_len": 100,
        "batch_size": 8,
        "run_cfg": {"num_gpus": int(torch.cuda.is_available())},
    }
    cfg = {**defaults, **settings, "path": setting.checkpoint, **setting.rope.to_dict()}
    if cfg["truncation"] not in (*SIDES, None):
        sides = ", ".join(SIDES)
        raise SpecError(f"truncation must be one of {sides}, got {cfg['truncation']!r}")
    rest = {k: v for k, v in cfg.items() if k not in (*FIELDS, "batch_size", "run_cfg")}
    return {"abbr": f"{name.replace('/', '_')}_{setting.rope.fingerprint()}_{_digest(rest)}"} | cfg


def books(
    task: str,
    source: str | None = None,
    lengths: list[int] | None = None,
    read_docs: int | None = None,
) -> list[dict[str, Any]]:
    """Return cumulative perplexity and accuracy of whole books as a data set.

    Args:
        task: in tasks/, which has the defaults.
        source: of `rope_eval.data.books.read_books`, by default what the environment variable
            ROPE_EVAL_BOOKS or the task says.
        lengths: tokens seen, BOS included, by default what ROPE_EVAL_LENGTHS (4096,8192) or the
            task says.
        read_docs: how many books to read, long enough or not; None for all.

    Raises:
        DataError: for a task without books of its own, and none given.
        SpecError: for lengths that make no sense, or a protocol that is not cumulative.
    """
    file = asset("tasks") / f"{task}.yaml"
    metadata = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)["metadata"]
    if protocol := metadata.get("perplexity_protocol"):
        raise SpecError(
            f"{task}: protocol {protocol} is not under OpenCompass: use `rope-eval ppl`, or lm-eval"
        )
    source = source or os.environ.get(BOOKS) or metadata["books"]
    if source is None:
        raise DataError(f"{task} needs your own copy of its books: say {BOOKS}=PATH")
    given = lengths or _numbers(os.environ.get(LENGTHS)) or metadata["lengths"]
    asked = {"books": source, "read_docs": read_docs, "lengths": list(check_lengths(given))}
    scoring = f"{HERE}.scoring"
    return [
        {
            "abbr": f"rope_{task}_{_digest(asked)}",
            "type": f"{HERE}.data.BooksDataset",
            "books": source,
            "read_docs": read_docs,
            "reader_cfg": {
                "input_columns": ["text"],
                "output_column": None,
                "train_split": "test",
                "test_split": "test",
            },
            "infer_cfg": {
                "prompt_template": {"type": TEMPLATE, "template": "{text}"},
                "retriever": {"type": RETRIEVER},
                "inferencer": {
                    "type": f"{scoring}.CumulativeInferencer",
                    "lengths": asked["lengths"],
                },
            },
            "eval_cfg": {
                "evaluator": {
                    "type": f"{scoring}.CumulativeEvaluator",
                    "lengths": asked["lengths"],
                }
            },
        }
    ]


class _Loader(yaml.SafeLoader):
    """Reads the tasks' YAML and does not look at what it calls."""


_Loader.add_constructor("!function", lambda loader, node: None)


def _numbers(text: str | None) -> list[int] | None:
    if not text:
        return None
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise SpecError(f"{LENGTHS} is written 4096,8192, got {text!r}") from None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:4]
