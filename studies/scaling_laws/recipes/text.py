"""What the lab is trained on: Python sources of the machine's own, as one stream of bytes."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rope_eval.errors import DataError
from studies.scaling_laws.recipes.model import BOUNDARY_ID

if TYPE_CHECKING:
    from torch import Tensor

_LEFT_OUT = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "pydoc_data"}
)
_BUILD_SETTINGS = ("config-", "_sysconfigdata")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingText:
    """The stream that the lab is trained on.

    Attributes:
        tokens: int16 [T]: for each file :data:`~studies.scaling_laws.BOUNDARY_ID`, then its bytes.
        files: how many files the stream holds.
        held_out: the files of the same kind that it does not hold, for evaluation.
        sha256: digest of the stream's files in order, their names not included.
    """

    tokens: Tensor
    files: int
    held_out: tuple[Path, ...]
    sha256: str


def text_root(source: str) -> Path:
    """Return the folder of a grid's text: ``stdlib`` or ``site-packages``, the interpreter's own.

    The standard library is nearly the same on every machine; site-packages is larger, and not.
    """
    return Path(sysconfig.get_path({"stdlib": "stdlib", "site-packages": "purelib"}[source]))


def training_text(root: Path | None = None) -> TrainingText:
    """Read the training stream from a standard library.

    Left out are what is not the library (site-packages), its tests, the code pages of
    ``encodings`` (tables of numbers), the build's settings (``config-…``, ``_sysconfigdata…``), and
    ``pydoc_data``: that is the book which the lab is evaluated on.

    Args:
        root: folder of the library; by default the running interpreter's own.

    Raises:
        DataError: the folder holds no Python sources (some distributions ship them apart).
    """
    import numpy as np
    import torch

    root = text_root("stdlib") if root is None else root
    boundary = np.array([BOUNDARY_ID], dtype=np.int16)
    parts: list[np.ndarray] = []
    digest = hashlib.sha256()
    for relative, path in _source_files(root):
        if is_held_out(relative):
            continue
        content = path.read_bytes()
        digest.update(len(content).to_bytes(8, "big") + content)
        parts += [boundary, np.frombuffer(content, dtype=np.uint8).astype(np.int16)]
    if not parts:
        raise DataError(
            f"No training text: {root} holds no Python sources (*.py). Use an interpreter whose "
            "standard library is installed as sources."
        )
    return TrainingText(
        tokens=torch.from_numpy(np.concatenate(parts)),
        files=len(parts) // 2,
        held_out=held_out_files(root),
        sha256=digest.hexdigest(),
    )


def held_out_files(root: Path) -> tuple[Path, ...]:
    """Return the files below a folder that are never trained on; nothing is read."""
    return tuple(path for relative, path in _source_files(root) if is_held_out(relative))


def is_held_out(relative: str) -> bool:
    """Tell whether a file is never trained on, by its path below the standard library.

    About one in twenty is, by a hash of the path: the same ones on every machine.

    >>> [name for name in ("argparse.py", "ast.py", "textwrap.py") if is_held_out(name)]
    ['ast.py']
    """
    return hashlib.sha256(relative.encode()).digest()[0] % 20 == 0


def _source_files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the modules to read or to hold out, ``(relative path, path)``, sorted."""
    paths = {path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
    for relative, path in sorted(paths.items()):
        if _LEFT_OUT.isdisjoint(relative.split("/")) and not relative.startswith(_BUILD_SETTINGS):
            yield relative, path
