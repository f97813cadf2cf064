"""GGUF files as models: where transformers finds one, and what it would lose of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rope_eval.errors import DataError, SpecError, UnsupportedModelError

_LOST = (".rope.scaling.", ".rope.scale", ".attention.sliding_window")  # in the names of fields
_FREQUENCIES = ("rope_freqs.", "rope_factors_long.", "rope_factors_short.")  # of tensors
_NEUTRAL = ("none", 0, 1, None)


def is_gguf(name: str) -> bool:
    """Tell whether a model's name is that of a GGUF file."""
    return name.lower().endswith(".gguf") and not Path(name).is_dir()


def location(name: str) -> dict[str, str]:
    """Return what `from_pretrained` takes to find a model: a GGUF file is one of a folder."""
    path = Path(name)
    if not is_gguf(name):
        return {"pretrained_model_name_or_path": name}
    return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}


@contextmanager
def without_bar() -> Iterator[None]:
    """Keep off the terminal the bar of transformers' conversion, which no setting of it hides."""
    from transformers import modeling_gguf_pytorch_utils as conversion

    bar = conversion.tqdm
    conversion.tqdm = lambda tensors, **_: tensors
    try:
        yield
    finally:
        conversion.tqdm = bar


def check_gguf(file: Path) -> None:
    """Raise unless a GGUF file is there, can be read, and transformers takes all of its RoPE.

    transformers reads the base of a GGUF file, but not how it scales its frequencies, and a sliding
    window of some architectures alone: the model would be another one, without a word.

    Raises:
        SpecError: without the package gguf.
        DataError: for a file that is not there or broken.
        UnsupportedModelError: for a model that transformers would not load as it is.
    """
    if not file.is_file():
        raise DataError(f"there is no GGUF file {file}")
    if find_spec("gguf") is None:
        raise SpecError(f"{file} needs the package gguf: pip install 'rope-eval[gguf]'")
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        values = {name: _value(field) for name, field in reader.fields.items() if _is_lost(name)}
        tensors = [tensor.name for tensor in reader.tensors]
    except Exception as error:  # the reader checks nothing: any kind can come out of a broken file
        raise DataError(f"{file} is no GGUF file, or broken or cut off: {error}") from error
    lost = [f"{name}={value}" for name, value in values.items() if value not in _NEUTRAL]
    lost += [name for name in tensors if name.startswith(_FREQUENCIES)]
    if lost:
        raise UnsupportedModelError(
            f"transformers does not read {', '.join(lost)} of {file}, so that another model would "
            "run: take the model's safetensors"
        )


def _is_lost(name: str) -> bool:
    """Tell whether a field changes the RoPE, and transformers has no place for it in a config."""
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    architecture, _, field = name.partition(".")
    place = GGUF_CONFIG_MAPPING.get(architecture, {}).get(field)
    return place is None and any(part in name for part in _LOST)


def _value(field: Any) -> Any:
    return field.contents()
