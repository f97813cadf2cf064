"""A model's config for commands that need nothing else of it."""

from __future__ import annotations

from pathlib import Path

from rope_eval.rope.geometry import RopeConfig


def read_config(model: Path) -> RopeConfig:
    """Return what a directory's config.json says, read as JSON, or a GGUF file, by transformers.

    Raises:
        DataError: for what is neither.
    """
    if model.is_dir() or model.suffix.lower() != ".gguf":
        return RopeConfig.read(model)
    return loaded_config(str(model))


def loaded_config(name: str) -> RopeConfig:
    """Return what transformers knows of a config: of a name on the hub, or a GGUF file.

    Raises:
        DataError: for a model that is not there.
    """
    from rope_eval.backends.checkpoint import check_checkpoint
    from rope_eval.backends.config import rope_config
    from rope_eval.backends.hf.loading import load_config

    check_checkpoint(name)
    return rope_config(load_config(name))
