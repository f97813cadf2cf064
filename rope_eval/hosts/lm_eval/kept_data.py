"""RULER's data: built once, and kept in the user's cache for the next setting, run and process.

lm-eval builds it anew in every process, which takes minutes at long lengths, from Python's and
numpy's random numbers as they are then. Kept are the rows and where the random numbers had come to,
under a digest of all that they are made of, so that what is read is what would have been built.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, load_from_disk
from lm_eval.api.task import ConfigurableTask
from platformdirs import user_cache_path

from rope_eval.errors import StoreError
from rope_eval.hosts.lm_eval.kept_answers import tokenizer_digest

RULER = "lm_eval/tasks/ruler/"
SEEDS = 0, 1234  # of Python and numpy, as lm-eval seeds them before it makes its tasks
_AFTER = "after.json"

Build = Callable[..., dict[str, Dataset]]


def keep_data() -> None:
    """Have RULER's tasks take their data from the cache, in this process."""
    if not hasattr(ConfigurableTask.download, "__wrapped__"):
        ConfigurableTask.download = _keeping(ConfigurableTask.download)


def _keeping(download: Callable[..., None]) -> Callable[..., None]:
    @wraps(download)
    def kept(self: ConfigurableTask, *args: Any, **kwargs: Any) -> None:
        build = self.config.custom_dataset
        if not is_of_ruler(build):
            return download(self, *args, **kwargs)
        self.config.custom_dataset = lambda **given: built_once(build, given)
        try:
            download(self, *args, **kwargs)
        finally:
            self.config.custom_dataset = build  # a record of the run says what lm-eval has

    return kept


def is_of_ruler(build: Any) -> bool:
    """Tell whether a task's data are built by lm-eval's RULER."""
    code = getattr(build, "__code__", None)
    return code is not None and RULER in Path(code.co_filename).as_posix()


def built_once(build: Build, given: dict[str, Any]) -> dict[str, Dataset]:
    """Return what a builder makes, from the cache where it is there; else keep it.

    Args:
        build: of RULER.
        given: its arguments.

    Raises:
        StoreError: where the cache cannot be written.
    """
    folder = user_cache_path("rope-eval") / "ruler" / _digest(build, given)
    if not folder.is_dir():
        made = build(**given)
        _keep(folder, made)
        return made
    after = json.loads((folder / _AFTER).read_text(encoding="utf-8"))
    found = {split: load_from_disk(str(folder / split)) for split in after["splits"]}
    _set_state(after["random"])
    return found


@contextmanager
def seeded() -> Iterator[None]:
    """Have random numbers begin as they do before lm-eval's own tasks, and go on as they were."""
    before = _state()
    random.seed(SEEDS[0])
    np.random.seed(SEEDS[1])
    try:
        yield
    finally:
        _set_state(before)


def _keep(folder: Path, made: dict[str, Dataset]) -> None:
    """Write a folder whole or not at all; of two processes the first stands."""
    temporary = folder.with_name(f".{folder.name}.{random.SystemRandom().getrandbits(64):x}")
    try:
        temporary.mkdir(parents=True)
        for split, rows in made.items():
            rows.save_to_disk(str(temporary / split))
        after = {"splits": list(made), "random": _state()}
        (temporary / _AFTER).write_text(json.dumps(after), encoding="utf-8")
        if not folder.is_dir():
            temporary.rename(folder)
    except OSError as error:
        if not folder.is_dir():
            raise StoreError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _digest(build: Build, given: dict[str, Any]) -> str:
    """Return SHA-256 of what the rows are made of: code, lengths, tokenizer, random numbers."""
    from lm_eval.tasks.ruler.common_utils import (
        DEFAULT_SEQ_LENGTHS,
        get_tokenizer,
        resolve_tokenizer_name,
    )

    parts = {
        "builder": build.__qualname__,
        "code": _code(Path(build.__code__.co_filename).parent),
        "datasets": version("datasets"),
        "lengths": list(given.get("max_seq_lengths", DEFAULT_SEQ_LENGTHS)),
        "tokenizer": tokenizer_digest(get_tokenizer(resolve_tokenizer_name(given))),
        "random": _state(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def _code(folder: Path) -> str:
    files = sorted(folder.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _state() -> list[Any]:
    numpy: Any = np.random.get_state()
    kind, keys, *rest = numpy
    return [random.getstate(), [kind, keys.tolist(), *rest]]


def _set_state(state: list[Any]) -> None:
    (form, internal, gauss), (kind, keys, *rest) = state
    random.setstate((form, tuple(internal), gauss))
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
