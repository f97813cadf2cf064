"""What is misspelt in the environment is refused: it would be as if nothing had been said."""

from __future__ import annotations

import pytest

from rope_eval.cli import main


def test_an_unknown_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ROPE_EVAL_BOOKS", "ROPE_EVAL_REAL"):
        monkeypatch.setenv(name, "x")
    assert main(["list", "plans"]) == 0
    monkeypatch.setenv("ROPE_EVAL_DATADIR", "data")
    capsys.readouterr()
    assert main(["list", "plans"]) == 2
    said = capsys.readouterr().err
    assert "has ROPE_EVAL_DATADIR" in said and "Did you mean 'ROPE_EVAL_DATA_DIR'?" in said
