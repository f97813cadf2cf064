"""The files for --config-dir, without OpenCompass: their names, and what they call."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rope_eval import catalogue
from rope_eval.errors import DataError
from rope_eval.hosts.opencompass.config_files import config_files, config_folder

ROW = "family: mine\nrows:\n  - name: {name}\n"


def called(text: str) -> dict[str, Any]:
    """Run a file with a host that returns what it is asked for."""
    names = ("models", "paper", "books")
    host = SimpleNamespace(**{name: lambda *a, name=name: [(name, *a)] for name in names})
    space: dict[str, Any] = {"__builtins__": {"__import__": lambda name, fromlist: host}}
    exec(text, space)
    return {name: value for name, value in space.items() if name != "__builtins__"}


def test_every_row_is_a_model_and_every_column_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = config_files()
    models = {path: called(text) for path, text in files.items() if path.startswith("models/")}
    rows = [("models", row) for row in catalogue.load()]
    assert [found["models"] for found in models.values()] == [[row] for row in rows]
    row = models["models/scaling_rope_llama2_7b_base_500_16k_log.py"]
    assert row == {"models": [("models", "llama2-7b/base-500-16k-log")]}
    data = {path: called(text) for path, text in files.items() if path.startswith("datasets/")}
    assert len(data) == 26 + 4 + 3
    assert data["datasets/rope_paper.py"] == {"rope_paper_datasets": [("paper", "all")]}
    assert data["datasets/rope_paper_mmlu.py"]["rope_paper_mmlu_datasets"] == [("paper", "mmlu")]
    books = data["datasets/rope_books_cumulative.py"]["rope_books_cumulative_datasets"]
    assert books == [("books", "books3_cumulative")]


def test_the_users_own_rows_are_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "model_configs").mkdir()
    own = tmp_path / "model_configs" / "mine.yaml"
    before = config_folder()
    own.write_text(ROW.format(name="it's-2.5"))
    after = config_folder()
    file = after / "models" / "scaling_rope_mine_it_s_2_5.py"
    assert called(file.read_text()) == {"models": [("models", "mine/it's-2.5")]}
    assert before != after and not (before / "models" / file.name).exists()


def test_two_rows_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model_configs").mkdir()
    own = tmp_path / "model_configs" / "mine.yaml"
    own.write_text(ROW.format(name="a-b") + "  - name: a.b\n")
    with pytest.raises(DataError, match=r"mine/a-b and mine/a\.b .* model scaling_rope_mine_a_b"):
        config_files()
