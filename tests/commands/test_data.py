"""`rope-eval data pull`: rows as they are on the hub, written once, with their digests."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from rope_eval.cli import main
from rope_eval.protocols import datasets as paper_data

ROWS = [{"text": "a b c"}, {"text": "d é f", "more": [1, None]}]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(path: str, *_: object, **__: object) -> datasets.Dataset:
        if path != "EleutherAI/lambada_openai":
            raise ConnectionError("no hub here")
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load)


@pytest.mark.usefixtures("hub")
def test_pull(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    assert main(["data", "pull", "--output", str(folder), "lambada"]) == 0
    assert "pulled: 2 rows" in capsys.readouterr().out
    from_folder = paper_data.read("lambada", folder)
    assert [row["text"] for row in from_folder] == ["a b c", "d é f"]
    (record,) = json.loads((folder / "checksums.json").read_text()).items()
    from_hub = paper_data.read("lambada")
    assert record == ("lambada", {"rows": 2, "sha256": paper_data.digest("lambada", from_hub)})
    (folder / "lambada.jsonl").write_text('{"text": "mine"}\n')
    assert main(["data", "pull", "--output", str(folder), "lambada"]) == 0
    assert "was there: 1 rows" in capsys.readouterr().out
    assert paper_data.read("lambada", folder) == [{"text": "mine"}]


@pytest.mark.usefixtures("hub")
def test_what_cannot_be_had_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "pull", "--output", str(tmp_path), "lambada", "hellaswag"]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "no hub here" in out
    assert "1 of 2 data sets could not be had" in out
    assert (tmp_path / "lambada.jsonl").is_file()
    assert not (tmp_path / "hellaswag.jsonl").exists()


def test_an_unknown_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "pull", "--output", str(tmp_path), "lambda"]) == 2
    assert "Did you mean 'lambada'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_broken_record_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "checksums.json").write_text(text)
    assert main(["data", "pull", "--output", str(tmp_path), "lambada"]) == 1
    out = capsys.readouterr().out
    assert "checksums.json" in out and "Delete it" in out
    assert (tmp_path / "checksums.json").read_text() == text
