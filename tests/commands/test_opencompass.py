"""What works where OpenCompass is not installed: the message, and the folders."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from rope_eval.cli import main

ROOT = Path(__file__).parents[2]


def test_a_missing_opencompass_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "rope_eval.commands.opencompass.find_spec",
        lambda name: None if name == "opencompass" else find(name),
    )
    assert main(["opencompass", "--models", "x", "--datasets", "y"]) == 2
    assert "pip install 'rope-eval[opencompass]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "file"),
    [
        ("tasks", "rope_paper_piqa.yaml"),
        ("tasks", "builtin_cumulative.yaml"),
        ("opencompass", "models/scaling_rope_llama2_7b_base_500.py"),
        ("models", "llama2-7b.yaml"),
        ("results", "paper/table5.csv"),
    ],
)
def test_path_prints_a_folder(
    what: str,
    file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["path", what]) == 0
    assert (Path(capsys.readouterr().out.rstrip("\n")) / file).is_file()


def test_path_prints_the_checkpoint_of_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["path", "lab/base-1e6"]) == 0
    folder = Path(capsys.readouterr().out.rstrip("\n"))
    assert folder.name == "base-1e6" and (folder / "config.json").is_file()


def test_path_knows_no_other_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["path", "elsewhere"]) == 2
    assert "opencompass" in capsys.readouterr().err
