"""The files of a checkpoint, looked at before anything is built of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from rope_eval import catalogue
from rope_eval.backends.gguf import check_gguf, is_gguf
from rope_eval.data.hub import why_not_had
from rope_eval.errors import SURELY, DataError, did_you_mean
from rope_eval.files import parse_json, read_small
from rope_eval.paths import is_directory
from rope_eval.rope.geometry import RopeConfig

INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth")
_NO_WEIGHTS = ("training_args.bin", "optimizer.*", "scheduler.*", "scaler.*", "rng_state*")
_ADAPTER = "adapter_model*"
_PACKINGS = {"quant_method", "load_in_4bit", "load_in_8bit"}
_MOST = {  # far above any model's: what is above builds for hours, or fills the memory
    "num_hidden_layers": 1000,
    "num_attention_heads": 1 << 16,
    "num_key_value_heads": 1 << 16,
    "head_dim": 1 << 16,
    "hidden_size": 1 << 20,
    "intermediate_size": 1 << 24,
    "vocab_size": 1 << 26,
}


def check_checkpoint(
    name: str, *, trust_remote_code: bool = False, allow_pickle: bool = False
) -> None:
    """Raise `DataError` for a local checkpoint that cannot, or should not, be loaded.

    A name that is neither a directory nor a GGUF file is one on the hub, of which no more is
    looked at than whether it can be had.
    """
    directory = Path(name)
    if is_gguf(name):
        check_gguf(directory)
        return
    check_there(name)
    if not directory.is_dir():
        return
    config_file = directory / "config.json"
    adapter = directory / "adapter_config.json"
    if adapter.is_file():
        _refuse_adapter(adapter, beside=config_file.is_file())
    if not config_file.is_file():
        raise DataError(f"{name} is no model directory: it has no config.json")
    check_config(_json(config_file), str(config_file), trust_remote_code=trust_remote_code)
    weights = _weights(directory, ["*.safetensors"])
    for file in weights:
        _opened(file)  # reads the header, and checks the size
    if (index := directory / INDEX).is_file():
        check_index(index, allow_pickle=allow_pickle)
    if not weights:
        pickles = _weights(directory, _PICKLES)
        if pickles and not allow_pickle:
            raise DataError(
                f"{name} has its weights in {pickles[0].name} alone, and loading a pickle can run "
                "code: convert them to safetensors, or allow it (--allow-pickle, or "
                "use_safetensors=False under lm_eval)"
            )
        if not pickles:
            others = sorted(file.name for glob in _PICKLES for file in directory.glob(glob))
            beside = f" ({', '.join(others)} holds none)" if others else ""
            raise DataError(f"{name} has no weights: no *.safetensors file{beside}")


def check_there(name: str) -> None:
    """Raise `DataError` for a name that is no directory or file here, and that the hub has not."""
    if is_gguf(name) or is_directory(name):
        return
    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise DataError(f"there is no model directory {name}")
    if reason := why_not_had(name):
        rows = catalogue.load()
        row = f" It is a row of the catalogue: --config {name}" if name in rows else ""
        hint = row or did_you_mean(name, rows, likeness=SURELY)
        raise DataError(f"there is no model {name!r} here, and {reason}.{hint}")


def check_config(values: Any, where: str, *, trust_remote_code: bool = False) -> None:
    """Raise `DataError` for a config.json that makes no model, or brings code with it.

    Args:
        values: its content.
        where: what it is called in errors.
        trust_remote_code: whether its own code may be run.
    """
    if not isinstance(values, dict):
        raise DataError(
            f"{where} is not a model's config: want a JSON object, got {json.dumps(values)[:60]}"
        )
    if "auto_map" in values and not trust_remote_code:
        raise DataError(
            f"{Path(where).parent} asks for Python code of its own to be run (auto_map in "
            "config.json): say trust_remote_code=True if you trust it"
        )
    for key in ("attn_implementation", "_attn_implementation"):
        if is_from_hub(values.get(key)):
            raise DataError(
                f"{where}: {key}={values[key]!r} would fetch code from the hub and run it: take "
                "it out, the attention is rope-eval's own"
            )
    packing = values.get("quantization_config")
    if packing is not None and not (isinstance(packing, dict) and _PACKINGS & set(packing)):
        raise DataError(f"{where}: quantization_config has no quant_method, got {packing!r}")
    rope = RopeConfig(values, where)
    for key in ("rope_type", "type"):
        if not isinstance(rope.parameters.get(key, ""), str):
            raise DataError(
                f"{where}: {key} of its RoPE must be a name, such as default or yarn, got "
                f"{rope.parameters[key]!r}"
            )
    for name, most in _MOST.items():
        size = values.get(name)
        if size is None:
            continue
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= most:
            raise DataError(
                f"{where}: {name} must be a whole number from 1 to {most}, got {str(size)[:40]!r}"
            )


def is_from_hub(attention: object) -> bool:
    """Tell whether transformers may fetch the kernels of an attention implementation from the hub.

    It does for ``kernels-community/…``, and for ``flash_attention_2`` where that is not installed.
    """
    text = str(attention)
    return "/" in text or ("flash_attention" in text and find_spec("flash_attn") is None)


def check_index(index: Path, *, allow_pickle: bool = False, fetched: bool = True) -> None:
    """Raise `DataError` for an index that takes weights from another folder, or from pickles.

    Args:
        index: the file.
        allow_pickle: whether they may be pickles.
        fetched: whether the files that it names must be there already.
    """
    values = _json(index)
    files = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise DataError(f"{index} is not an index of weights: it has no weight_map of file names")
    for file in sorted(set(files.values())):
        if Path(file).name != file or file == ".." or "\\" in file:
            raise DataError(f"{index} takes weights from {file!r}, outside the model's folder")
        if not file.endswith(".safetensors") and not allow_pickle:
            raise DataError(
                f"{index} takes weights from {file!r}, and loading a pickle can run code: convert "
                "it to safetensors, or allow it (--allow-pickle)"
            )
        if fetched and not (index.parent / file).exists():
            raise DataError(f"{index} names {file}, which is not there: fetch the model again")


def check_whole(name: str, info: Mapping[str, Any]) -> None:
    """Raise `DataError` unless every weight of a model came from its files, and all of theirs went.

    Args:
        name: the model's.
        info: `missing_keys`, `unexpected_keys` and `mismatched_keys` of transformers' loading.
    """
    missing, unexpected = set(info["missing_keys"]), set(info["unexpected_keys"])
    if info["mismatched_keys"]:
        wrong = sorted(
            f"{key} {list(found)} for {list(want)}" for key, found, want in info["mismatched_keys"]
        )
        raise DataError(
            f"the weights of {name} have other shapes than its config asks for: {_some(wrong)}. "
            "Is it the config.json of these weights?"
        )
    problems = []
    if missing:
        problems.append(f"its files lack {_some(missing)}")
    if unexpected:
        problems.append(f"its files hold {_some(unexpected)}, which the model has no place for")
    if problems:
        advice = _prefix_advice(missing, unexpected) or (
            "Is the download whole, and the config.json that of these weights?"
        )
        raise DataError(f"the weights of {name} do not fit it: {'; '.join(problems)}. {advice}")


def _prefix_advice(missing: Iterable[str], unexpected: Iterable[str]) -> str | None:
    """Return what to do about files that name every weight under one prefix."""
    known = {
        "_orig_mod.": "torch.compile's: save the state of model._orig_mod",
        "module.": "DistributedDataParallel's: save the state of model.module",
        "base_model.model.": "peft's: merge the adapter (merge_and_unload) and save that",
    }
    found = sorted(unexpected)
    for prefix, what in known.items():
        if found and all(f".{prefix}" in f".{name}" for name in found):
            return f"They are named under {prefix!r}, {what}, or rename them."
    for name in found[:1]:
        for wanted in missing:
            if name.endswith(f".{wanted}"):
                return f"They are named under {name.removesuffix(wanted)!r}: rename them."
    return None


def _some(names: Iterable[str]) -> str:
    """Return the first three names, and how many there are."""
    first = sorted(names)
    return ", ".join(first[:3]) + (f", … ({len(first)} in all)" if len(first) > 3 else "")


def _refuse_adapter(file: Path, *, beside: bool) -> None:
    values = _json(file)
    base = values.get("base_model_name_or_path") if isinstance(values, dict) else None
    of = f" of {base}" if base else ""
    if beside:
        raise DataError(
            f"{file.parent} holds an adapter{of} beside a model, and transformers would load it "
            "too: merge it (peft's merge_and_unload), or move adapter_* elsewhere"
        )
    raise DataError(
        f"{file.parent} is an adapter{of}, not a model: merge it into its base model (peft's "
        "merge_and_unload) and save that; lm_eval takes it beside its base as peft=DIR"
    )


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file} is broken or cut off: {error}") from error


def _weights(directory: Path, patterns: Iterable[str]) -> list[Path]:
    """Return the files that may hold a model's weights."""
    files = {file for pattern in patterns for file in directory.glob(pattern)}
    others = (*_NO_WEIGHTS, _ADAPTER)
    return sorted(file for file in files if not any(file.match(pattern) for pattern in others))


def _json(file: Path) -> Any:
    return parse_json(read_small(file), str(file))
