"""Hidden states come back bit for bit from wherever they are held."""

import tempfile
from pathlib import Path

import pytest
import torch

from rope_eval.backends.hf.rows import PLACES, Rows
from rope_eval.errors import DataError


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lead", [(1,), (3, 1)])
def test_what_is_written_comes_back(place: str, dtype: torch.dtype, lead: tuple[int, ...]) -> None:
    whole = torch.randn(*lead, 11, 5).to(dtype)
    rows = Rows(11, place)
    for part in (slice(4, 11), slice(0, 4)):
        rows[part] = whole[..., part, :]
    rows[slice(3, 6)] = whole[..., 3:6, :] = torch.randn(*lead, 3, 5).to(dtype)
    assert torch.equal(rows[slice(0, 11)], whole)
    assert torch.equal(rows[slice(2, 99)], whole[..., 2:, :])
    assert rows[slice(2, 5)].dtype == dtype


def test_nothing_of_them_is_left_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = Rows(4, "disk")
    rows[slice(0, 4)] = torch.ones(1, 4, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: full.open("r+b", buffering=0))
    rows = Rows(4, "disk")
    with pytest.raises(DataError, match=r"4 tokens \(32 bytes\).*No space left.*TMPDIR"):
        rows[slice(0, 4)] = torch.ones(1, 4, 2)
