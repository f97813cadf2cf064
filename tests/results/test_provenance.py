from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rope_eval.results import provenance as provenance_module
from rope_eval.results.provenance import provenance, timed


def test_provenance_says_how_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    token = "hf_" + "a1B2" * 8
    monkeypatch.setattr(
        sys, "argv", ["rope-eval", "ppl", f"token={token},x=1", "/hf_models/\udcff"]
    )
    record = provenance(gpu="a GPU")
    assert record["command"] == ["rope-eval", "ppl", "token=hf_***,x=1", "/hf_models/\\udcff"]
    assert set(record["versions"]) == {"python", "rope-eval", "torch", "transformers", "lm-eval"}
    assert record["versions"]["python"] == sys.version.split()[0]
    assert record["machine"]["gpu"] == "a GPU"
    assert record["machine"]["processors"] == os.cpu_count()
    assert record["machine"]["memory_bytes"] > 1 << 28
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", record["started"])
    assert os.uname().nodename not in json.dumps(record)
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("/home/me/.venv/bin/rope-eval", "rope-eval"),
        ("/home/me/.venv/lib/lm_eval/__main__.py", "lm_eval"),
        ("-c", "-c"),
        ("", ""),
    ],
)
def test_a_program_has_no_folder(monkeypatch: pytest.MonkeyPatch, program: str, name: str) -> None:
    monkeypatch.setattr(sys, "argv", [program, "run", "plans/one.yaml"])
    assert provenance()["command"] == [name, "run", "plans/one.yaml"]


def test_versions_are_the_installed_ones() -> None:
    assert provenance_module._version("numpy") == np.__version__
    assert provenance_module._version("no-such-package") is None


def test_duration_is_added_also_on_errors() -> None:
    record: dict[str, Any] = {}
    with suppress(ValueError), timed(record) as same:
        time.sleep(0.02)
        raise ValueError
    assert same is record
    assert 0.02 <= record["duration_s"] < 5


def test_commit_of_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        return subprocess.check_output(
            ["git", "-c", "user.name=x", "-c", "user.email=x@x", *arguments], text=True
        ).strip()

    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.chdir(tmp_path)
    assert provenance()["git_commit"] is None
    git("init", "-q")
    assert provenance()["git_commit"] is None
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "--no-verify", "-m", "one")
    (tmp_path / "untracked").write_text("results")
    commit = git("rev-parse", "HEAD")
    assert provenance()["git_commit"] == commit
    (tmp_path / "file").write_text("two")
    assert provenance()["git_commit"] == f"{commit}-dirty"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance()["git_commit"] is None
