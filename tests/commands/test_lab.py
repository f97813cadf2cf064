"""`rope-eval lab`: the door to the study, from a checkout and from elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_installed_package_says_where_the_study_is(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "rope_eval", tmp_path / "rope_eval", ignore=shutil.ignore_patterns("__pycache__")
    )
    done = _run(tmp_path, "rope_eval", "lab", "show")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("rope-eval: error: `rope-eval lab` is the study of the paper's laws")
    assert "clone it" in line


def test_the_study_is_a_program_with_the_same_errors(tmp_path: Path) -> None:
    for words in (("studies.scaling_laws",), ("rope_eval", "lab")):
        done = _run(ROOT, *words, "show", "--store", str(tmp_path))
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("rope-eval: error: ") and "has no 'as trained' curves" in line
        assert _run(ROOT, *words, "--help").stdout.startswith("usage: rope-eval lab ")
        assert _run(ROOT, *words, "shew").returncode == 2
