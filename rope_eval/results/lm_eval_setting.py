"""Which model a run of lm-eval was of, and under which setting, as its results file says it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rope_eval import catalogue
from rope_eval.errors import DataError, SpecError
from rope_eval.results import identity
from rope_eval.results.lm_eval_files import Fields
from rope_eval.rope.spec import FIELDS, RopeSpec

_ROPE = re.compile(r"(.*_)?rope(_|$)", re.IGNORECASE)
_CONFIG_OVERRIDES = ("hf_overrides", "json_model_override_args")
_OTHER_WEIGHTS = ("peft", "delta", "subfolder", "gguf_file")
_NOTHING: tuple[Any, ...] = (None, "", "None", "null", "{}", {})


def arguments_of(config: Fields) -> dict[str, Any]:
    """Return --model_args as a mapping; older releases wrote a text."""
    given = config.get("model_args", (str, dict), {})
    if isinstance(given, str):
        given = dict(pair.partition("=")[::2] for pair in _pairs(given) if pair)
    return dict(given)


def _pairs(text: str) -> Iterator[str]:
    """Yield the parts of a text between its commas, those inside brackets excepted."""
    depth = start = 0
    for i, letter in enumerate(text):
        depth += (letter in "{[(") - (letter in "}])")
        if letter == "," and depth <= 0:
            yield text[start:i].strip()
            start = i + 1
    yield text[start:].strip()


def label_of(arguments: Mapping[str, Any], record: Fields, config: Fields) -> str:
    """Return what a model is called: its name on the hub, or the last part of its path."""
    name = _model(arguments) or arguments.get("config")
    name = name or record.get("model_name", str) or config.get("model", str)
    parts = [str(name), *([str(arguments["peft"])] if arguments.get("peft") else [])]
    label = " + ".join(map(identity.label_of_text, parts))
    revision = arguments.get("revision", "main")
    return label if revision == "main" else f"{label}@{revision}"


def _model(arguments: Mapping[str, Any]) -> str | None:
    name = arguments.get("pretrained") or arguments.get("model")
    return None if name is None else str(name)


def fingerprint_of(arguments: Mapping[str, Any]) -> str | None:
    """Return which model it was, as far as the name, or what lies there now, tells it."""
    if any(arguments.get(name) for name in _OTHER_WEIGHTS):
        return None
    if arguments.get("revision", "main") != "main":
        return None
    name = _model(arguments)
    if name is None and arguments.get("config"):
        rows = catalogue.load(checkpoints=catalogue.read_checkpoints())
        row = rows.get(str(arguments["config"]))
        name = row.checkpoint if row else None
    return None if name is None else identity.fingerprint(name)


def rope_of(config: Fields) -> dict[str, Any]:
    """Return the setting that our model was under, as `RopeSpec.to_dict` has it."""
    rope = config.get("rope", dict, {})
    try:
        return RopeSpec.from_dict(rope).to_dict()
    except SpecError as error:
        raise DataError(f"{config.where}.rope: {error}") from error


def overrides_of(arguments: Mapping[str, Any], *, ours: bool) -> dict[str, str]:
    """Return what the arguments change of a model's own RoPE, beside the fields of `RopeSpec`.

    What a stock host makes of them is not known here, so they are kept as they were given.
    """
    return {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in arguments.items()
        if (_ROPE.match(name) or name in _CONFIG_OVERRIDES)
        and value not in _NOTHING
        and not (ours and name in FIELDS)
    }


def ran_of(config: Fields) -> dict[str, Any]:
    """Return the dtype that the model ran in, where lm-eval or our model has recorded it."""
    dtype = config.get("dtype", str) or config.get("model_dtype", str)
    return {"ran": [{"dtype": dtype.removeprefix("torch.")}]} if dtype else {}
