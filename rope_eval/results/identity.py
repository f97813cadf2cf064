"""What a run is: its model, its request and its key. Two runs of one key are one run.

Everything that can change a number belongs into the request, and nothing else is hashed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rope_eval.errors import DataError, StoreError
from rope_eval.results.resolved import hub_commit, resolved_dtype
from rope_eval.rope.spec import RopeSpec
from rope_eval.safe_text import masked_values

KEY_DIGITS = 16
WHOLE_FILE_BYTES = 64 << 20
HEAD_BYTES = 1 << 20

_CONFIG_FILES = (
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template*",
    "*.py",
)
_WEIGHT_FILES = ("*.safetensors", "*.bin")
_DIGEST = re.compile("[0-9a-f]{64}")


# ---- the run -----------------------------------------------------------------------------------


def request(
    kind: str, model: str, rope: RopeSpec, *, backend: str, dtype: str, **more: Any
) -> dict[str, Any]:
    """Return what is asked of a model under a setting, the part that every kind of run has.

    Args:
        kind: what is run, such as "cumulative".
        model: a directory, or a name on the hub.
        rope: the setting.
        backend: what runs the model.
        dtype: as it is asked for; the request has what it comes to, where that is known.
        **more: what else determines the result, by the kind; it is kept without secrets.

    Returns:
        The request. A name on the hub has its commit, None where it is unknown, and an adapter the
        model that it is for.
    """
    asked = {
        "kind": kind,
        "model": model_label(model),
        "fingerprint": fingerprint(model),
        "rope": rope.to_dict(),
        "backend": backend,
        "dtype": resolved_dtype(model, dtype, backend),
        **masked_values(more),
    }
    if not Path(model).is_dir():
        asked["commit"] = hub_commit(model)
    if base := adapter_base(model):
        asked["adapter_base"] = {"fingerprint": fingerprint(base), "commit": hub_commit(base)}
    return asked


def run_key(request: Mapping[str, Any]) -> str:
    """Return the key of a run: a hash of everything that determines its result.

    SHA-256 of the request as canonical JSON (keys sorted, whole numbers written as integers, so
    that a base of 500 and of 500.0 are one run), cut to 16 hex digits: short enough to type as a
    file's name, and 64 bits, where a million runs meet by chance with probability 3e-8.

    Raises:
        StoreError: for NaN, infinity, keys that are not strings and values that are not JSON.
    """
    require_json(dict(request), "request")
    whole = json.loads(json.dumps(dict(request)), parse_float=_whole_as_int)
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def require_json(value: object, where: str) -> None:
    """Raise StoreError unless the value is JSON that reads back as it was; say where it is not."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise StoreError(f"{where}: want strings for keys, got {key!r}")
            require_json(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            require_json(item, f"{where}[{index}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise StoreError(f"{where}: want a finite number, got {value}")
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise StoreError(f"{where}: want text that UTF-8 can hold, got {value!r}") from error
    elif not (value is None or isinstance(value, bool | int)):
        raise StoreError(f"{where}: want plain JSON values, got {type(value).__name__}: {value!r}")


def _whole_as_int(literal: str) -> int | float:
    number = float(literal)
    return int(number) if number.is_integer() else number


# ---- the model ---------------------------------------------------------------------------------


def model_label(model: str) -> str:
    """Return what people call a model: a directory's or file's name, or its name on the hub.

    It is for eyes alone: `fingerprint` says which model it is.
    """
    return Path(model).resolve().name if Path(model).exists() else label_of_text(model)


def label_of_text(model: str) -> str:
    """Return the same of a name in another machine's record: its form tells a path.

    >>> label_of_text("/data/models/mine"), label_of_text("me/model")
    ('mine', 'me/model')
    """
    return Path(model).name if model.startswith((".", "/", "~")) or model.count("/") > 1 else model


def fingerprint(model: str) -> str:
    """Return which model it is: a directory or GGUF file by content, anything else by its name.

    A folder that is no whole model has no content to go by, and no run of it can succeed.
    """
    try:
        return model_fingerprint(model) if Path(model).exists() else model
    except DataError:
        return model


def adapter_base(directory: str) -> str | None:
    """Return the model that the adapter in a directory is for, if there is one: it is loaded."""
    try:
        said = json.loads(Path(directory, "adapter_config.json").read_bytes())
        base = said["base_model_name_or_path"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return base if isinstance(base, str) and base else None


def adapter_digest(directory: str) -> str:
    """Return the identity of an adapter's folder by content, or of what is none by its name."""
    files = _matching(Path(directory), ("*",)) if Path(directory).is_dir() else set()
    return _digest(sorted(files), set()) if files else directory


def folder_digest(folder: str) -> str:
    """Return the identity of a folder of small files by their content, hidden ones left out.

    Raises:
        DataError: one of them cannot be read.
    """
    there = sorted(Path(folder).rglob("[!.]*"))
    return _digest([file for file in there if file.is_file() and file.suffix != ".pyc"], set())


def is_content(fingerprint: str) -> bool:
    """Tell a fingerprint of content from a name."""
    return _DIGEST.fullmatch(fingerprint) is not None


def differ(one: str | None, other: str | None) -> bool:
    """Tell whether two fingerprints are surely of different models: both are of content."""
    return one != other and all(name is not None and is_content(name) for name in (one, other))


def model_fingerprint(directory: str | Path) -> str:
    """Return the identity of a model directory, or of a GGUF file, by content: SHA-256 in hex.

    Over the name, size and content of the configuration, tokenizer and code files and of the
    weights (``*.safetensors``, ``*.bin`` and their indexes) in the directory itself. Of a weight
    file over 64 MiB only the first MiB and the modification time count: reading 140 GB before
    every run would cost minutes, and the first MiB alone does not tell two fine-tunes with the
    same shapes apart. A copy of large weights that loses the time is thus another model, which
    costs a run again and never gives a wrong one.

    Raises:
        DataError: this is no directory, or one without ``config.json`` or without weights.
    """
    directory = Path(directory)
    if directory.is_file() and directory.suffix.lower() == ".gguf":
        return _digest([directory], {directory})
    if not directory.is_dir():
        raise DataError(f"{directory}: no such model directory")
    weights = _matching(directory, _WEIGHT_FILES)
    if not (directory / "config.json").is_file() or not weights:
        want = "weights (*.safetensors or *.bin)" if not weights else "config.json"
        raise DataError(f"{directory}: a model directory without {want}")
    others = _matching(directory, (*_CONFIG_FILES, "*.index.json"))
    return _digest(sorted(weights | others), weights)


def _digest(files: Iterable[Path], weights: set[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        try:
            status = path.stat()
            whole = path not in weights or status.st_size <= WHOLE_FILE_BYTES
            changed = None if whole else status.st_mtime_ns
            digest.update(json.dumps([path.name, status.st_size, changed]).encode())
            with path.open("rb") as file:
                if whole:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
                else:
                    digest.update(file.read(HEAD_BYTES))
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _matching(directory: Path, patterns: Iterable[str]) -> set[Path]:
    return {path for pattern in patterns for path in directory.glob(pattern) if not path.is_dir()}
