"""A model's config for commands that need nothing else of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rope_eval.errors import DataError
from rope_eval.paths import is_directory
from rope_eval.rope.geometry import RopeConfig


def read_config(name: str) -> RopeConfig:
    """Return what a model's config.json says, read as JSON, or a GGUF file, by transformers.

    Args:
        name: a directory, a GGUF file, or a name on the hub.

    Raises:
        DataError: for what is neither.
    """
    if name.lower().endswith(".gguf") and not is_directory(name):
        return loaded_config(name)
    folder = config_folder(name)
    config = RopeConfig.read(folder)
    return config if is_directory(name) else replace(config, where=f"the config of {name}")


def config_folder(name: str) -> Path:
    """Return the directory with a model's config.json: itself, or one in the hub's cache.

    Raises:
        DataError: for a name that is no directory, and that the hub has not.
    """
    if is_directory(name):
        return Path(name)
    from rope_eval.backends.checkpoint import check_there
    from rope_eval.data import hub

    check_there(name)
    try:
        return hub.config_folder(name)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"the config of {name} cannot be fetched: {reason}") from error


def loaded_config(name: str) -> RopeConfig:
    """Return what transformers knows of a config: of a name on the hub, or a GGUF file.

    Raises:
        DataError: for a model that is not there.
    """
    from rope_eval.backends.checkpoint import check_checkpoint

    check_checkpoint(name)

    from rope_eval.backends.config import rope_config
    from rope_eval.backends.hf.loading import load_config

    return rope_config(load_config(name))
