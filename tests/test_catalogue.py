"""The catalogue: every row that ships, and files that are not as documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from rope_eval import catalogue
from rope_eval.errors import DataError, SpecError
from rope_eval.rope.spec import RopeSpec

FAMILY = """\
family: mine
pretrain_theta: 500000
train_length: 8192
rows:
  - name: released
    checkpoint: weights
    tune_length: 16384
    rope: {rope_theta: 1000000, log_scale: true}
  - name: unreleased
"""


def test_the_lab_family() -> None:
    rows = catalogue.load()
    row = rows["lab/base-20"]
    assert row.rope == RopeSpec(rope_theta=20, train_length=128, tune_length=128)
    assert (Path(row.require_checkpoint()) / "model.safetensors").is_file()
    assert catalogue.find("lab/base-20") == row


def test_a_family_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FAMILY)
    rows = catalogue.load(tmp_path)
    assert list(rows) == ["mine/released", "mine/unreleased"]
    released = rows["mine/released"]
    assert released.checkpoint == "weights"  # no folder of that name beside the file: a hub name
    assert released.rope == RopeSpec(
        rope_theta=1e6,
        log_scale=True,
        pretrain_theta=500000,
        train_length=8192,
        tune_length=16384,
    )
    (tmp_path / "weights").mkdir()
    assert catalogue.load(tmp_path)["mine/released"].checkpoint == str(tmp_path / "weights")
    with pytest.raises(DataError, match=r"mine/unreleased was never released.*pretrained=DIR"):
        rows["mine/unreleased"].require_checkpoint()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("family: [", DataError, "not YAML"),
        ("- 1", DataError, "expected a mapping"),
        ("family: x", DataError, "rows is missing"),
        (FAMILY + "  - {checkpoint: y}\n", DataError, "name is missing"),
        (FAMILY + "  - {name: z, tune_lenght: 5}\n", DataError, "Did you mean 'tune_length'"),
        (FAMILY + "  - {name: released}\n", DataError, "mine/released stands twice"),
        (FAMILY + "  - {name: z, rope: {rope_teta: 5}}\n", SpecError, "Did you mean 'rope_theta'"),
    ],
)
def test_files_that_are_not_as_documented(
    tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(error, match=message):
        catalogue.load(tmp_path)


def test_an_unknown_row_names_the_nearest() -> None:
    with pytest.raises(DataError, match="Did you mean 'lab/pretrained'"):
        catalogue.find("lab/pretrain")
