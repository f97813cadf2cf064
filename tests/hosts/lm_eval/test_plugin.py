"""How lm-eval is started, and what it then knows of `scaling_rope`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from rope_eval import catalogue
from rope_eval.errors import StoreError
from rope_eval.hosts.lm_eval import plugin
from rope_eval.hosts.lm_eval.plugin import name_the_checkpoint

LINE = (Path(__file__).parents[3] / "rope_eval_lm_eval.pth").read_text(encoding="utf-8")
RUN_IT = f"""
import sys, types
plugin = types.ModuleType("rope_eval.hosts.lm_eval.plugin")
plugin.activate = lambda: print("activated")
for name in ("rope_eval", "rope_eval.hosts", "rope_eval.hosts.lm_eval"):
    sys.modules[name] = types.ModuleType(name)
sys.modules[plugin.__name__] = plugin
exec({LINE!r})
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with an lm_eval that does nothing, and our line in every start of Python."""
    (tmp_path / "sitecustomize.py").write_text(RUN_IT, encoding="utf-8")
    for name in ("lm_eval/__init__.py", "lm_eval/__main__.py", "bin/lm_eval", "bin/lm-eval"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "other.py").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "activated"),
    [
        ("-m lm_eval --tasks x", True),
        ("-X utf8 -m lm_eval --tasks x", True),
        ("-X utf8 -W ignore -B -u -m lm_eval", True),
        ("-Bum lm_eval", True),
        ("-mlm_eval", True),
        ("-m lm_eval.__main__", True),
        ("lm_eval/__main__.py run", True),
        ("-X utf8 bin/lm_eval --tasks x", True),
        ("bin/lm-eval", True),
        ("-m trace --count --coverdir=DIR --module lm_eval", False),
        ("-m cProfile -m lm_eval", True),
        ("other.py lm_eval", False),
        ("other.py --model scaling_rope --output lm_eval", False),
        ("-m other lm_eval", False),
        ("-c pass lm_eval", False),
    ],
)
def test_the_line_knows_a_start_of_lm_eval(folder: Path, words: str, activated: bool) -> None:
    done = subprocess.run(
        [sys.executable, *words.replace("DIR", str(folder)).split()],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("activated" in done.stdout) is activated


@pytest.mark.parametrize(
    "words",
    [
        ["--model", "scaling_rope", "--model_args", "config=lab/base-1e6,dtype=bfloat16"],
        ["run", "--model=scaling_rope", "--model_args=config=lab/base-1e6"],
        ["--model", "scaling_rope", "-a", "dtype=float32", "config=lab/base-1e6", "--tasks", "x"],
    ],
)
def test_a_row_of_the_catalogue_has_its_checkpoint_beside_it(words: list[str]) -> None:
    *before, option, argument = name_the_checkpoint(words)
    assert (before, option) == (words, "--model_args")
    assert json.loads(argument) == {"pretrained": catalogue.find("lab/base-1e6").checkpoint}


@pytest.mark.parametrize(
    "words",
    [
        ["--model", "hf", "--model_args", "config=lab/base-1e6"],
        ["--model", "scaling_rope", "--model_args", "config=lab/base-1e6,pretrained=mine"],
        ["--model", "scaling_rope", "--model_args", "config=no/such-row"],
        ["--model", "scaling_rope", "--tasks", "config=lab/base-1e6"],
    ],
)
def test_words_that_stay_as_they_are(words: list[str]) -> None:
    assert name_the_checkpoint(words) == words


OURS = ["lm_eval", "--model", "scaling_rope", "--tasks", "builtin_cumulative"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return monkeypatch


def test_a_start_with_our_model_has_our_tasks(started: pytest.MonkeyPatch) -> None:
    started.setattr(sys, "argv", list(OURS))
    plugin.activate()
    *words, option, folder = sys.argv
    assert (words, option) == (OURS, "--include_path")
    assert (Path(folder) / "builtin_cumulative.yaml").is_file()


@pytest.mark.parametrize(
    "words",
    [
        [*OURS, "--include_path", "mine"],
        [*OURS, "--include_path=mine"],
        [*OURS, "--config", "mine.yaml"],
        ["lm_eval", "--model", "hf", "--tasks", "piqa"],
    ],
)
def test_a_start_that_says_its_tasks_keeps_them(
    started: pytest.MonkeyPatch, words: list[str]
) -> None:
    started.setattr(sys, "argv", list(words))
    plugin.activate()
    assert sys.argv == words


def test_tasks_that_cannot_be_written_are_said(
    started: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(words: Sequence[str]) -> list[str]:
        raise StoreError("no space left")

    started.setattr(plugin, "reach_tasks", full)
    started.setattr(sys, "argv", list(OURS))
    plugin.activate()
    assert sys.argv == OURS
    assert "its tasks are not found: no space left" in capsys.readouterr().err
