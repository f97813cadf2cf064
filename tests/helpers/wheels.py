"""The wheel and the sdist, built as pip builds them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path


def built(kind: str, source: Path, folder: Path) -> Path:
    """Build a ``wheel`` or an ``sdist`` of a source tree, and return its file."""
    build = f"import sys; from hatchling.build import build_{kind}; build_{kind}(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(folder)], cwd=source, check=True, capture_output=True
    )
    (file,) = folder.iterdir()
    return file


def unpacked(wheel: Path, folder: Path) -> Path:
    """Unpack a wheel, and return the folder: what an environment has of it, with no checkout."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder
