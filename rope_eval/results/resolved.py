"""What a model's files settle before it is loaded: dtype, commit, what its laws stand on."""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

from rope_eval import __version__
from rope_eval.errors import DataError
from rope_eval.rope.geometry import RopeConfig
from rope_eval.rope.laws import Laws
from rope_eval.rope.methods import NEED_LENGTHS
from rope_eval.rope.spec import RopeSpec

AUTO = "auto"
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_HEADER_BYTES = 100 << 20  # safetensors' own limit


def resolved_dtype(model: str, asked: str, backend: str) -> str:
    """Return the dtype that a model will run in, or "auto" where only loading it tells.

    transformers takes the config's, and without one that of the weights. vLLM takes the same, and
    bfloat16 in the place of float32 (vllm issue 18751); what a platform of its own rules took
    instead is found when the model is loaded, and refused. A GGUF file is unpacked into float32.

    Args:
        model: a directory, a GGUF file, or a name on the hub.
        asked: "auto", or a dtype.
        backend: "hf", or "vllm".
    """
    if asked != AUTO:
        return asked
    if _is_gguf(model):
        return "float32"
    folder = _folder(model)
    said = AUTO if folder is None else _said(folder)
    return "bfloat16" if (backend, said) == ("vllm", "float32") else said


def _said(folder: Path) -> str:
    config = _config(folder)
    said = config.get("dtype") or config.get("torch_dtype")
    if isinstance(said, str):
        return said.removeprefix("torch.")
    found = {dtype for file in folder.glob("*.safetensors") for dtype in _tensor_dtypes(file)}
    return found.pop() if len(found) == 1 else AUTO


def hub_commit(model: str) -> str | None:
    """Return the commit that a name on the hub has in the local cache, or None if it is unknown."""
    folder = None if Path(model).is_dir() else _folder(model)
    return None if folder is None else folder.name


def resolved_laws(model: str, rope: RopeSpec) -> dict[str, Any]:
    """Return what the numbers of a setting stand on beside it, by the names of the facts.

    It is known of families or read from the config, so that another release may know better.

    Args:
        model: a directory, a GGUF file, or a name on the hub.
        rope: the setting.

    Returns:
        The values; none for a setting that needs none. Where only loading tells, the release.
    """
    if not any(name in rope.to_dict() for name in NEED_LENGTHS):
        return {}
    laws = _laws(model, rope)
    facts = {} if laws is None else laws.to_dict()
    if not facts:
        return {"rope_eval": __version__}
    return {name: fact["value"] for name, fact in facts.items()}


def trained_length(model: str, rope: RopeSpec) -> int | None:
    """Return the longest length that a model was trained at, or None where its files do not say.

    Args:
        model: a directory, a GGUF file, or a name on the hub.
        rope: the setting.
    """
    laws = _laws(model, rope)
    length = laws and (laws.tune_length.value or laws.train_length.value)
    return int(length) if length else None


def _laws(model: str, rope: RopeSpec) -> Laws | None:
    """Return what the laws stand on under a setting, or None for files that do not say."""
    try:
        if _is_gguf(model):
            return _gguf_config(model, Path(model).stat().st_mtime_ns).laws.under(rope)
        folder = _folder(model)
        return None if folder is None else RopeConfig.read(folder).laws.under(rope)
    except DataError:
        return None


@lru_cache(maxsize=16)
def _gguf_config(model: str, changed: int) -> RopeConfig:
    """Return the config of a GGUF file as it was at a time: to read it takes seconds."""
    from rope_eval.backends.config import rope_config
    from rope_eval.backends.hf.loading import load_config

    return rope_config(load_config(model))


def _is_gguf(model: str) -> bool:
    return model.lower().endswith(".gguf") and Path(model).is_file()


def _folder(model: str) -> Path | None:
    """Return where the files of a model are, if they are on this machine."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import try_to_load_from_cache

    try:
        config = try_to_load_from_cache(model, "config.json")
    except ValueError:  # no name that the hub could have
        return None
    return Path(config).parent if isinstance(config, str) else None


def _config(folder: Path) -> dict[str, Any]:
    try:
        return _json((folder / "config.json").read_bytes())
    except OSError:
        return {}


def _json(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _tensor_dtypes(file: Path) -> set[str]:
    """Return the floating types of a safetensors file; what is broken has none, and no run."""
    try:
        with file.open("rb") as opened:
            (size,) = struct.unpack("<Q", opened.read(8))
            header = _json(opened.read(size) if size <= _HEADER_BYTES else b"")
    except (OSError, struct.error):
        return set()
    types = {tensor.get("dtype") for tensor in header.values() if isinstance(tensor, dict)}
    return {_DTYPES[name] for name in types if name in _DTYPES}
