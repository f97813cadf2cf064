"""Every command of the pages runs as it is written, and prints what the page says it prints.

A block of `bash` or `python` is run, page by page, in the order of the page and in one folder; a
block of `text` right after it is its output. What needs a GPU, a hub or another environment is in a
block of `console` or `py`, and the tests of that room run it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ELSEWHERE = {"figures.md"}  # its commands: test_figures_page.py; its Python: here
SCRIPT = "#!"  # a file for another program, tested by plans/test_slurm.py
_PROGRAM = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
_NAMES = """
from pathlib import Path
import torch
from rope_eval import Store, score_tokens
from rope_eval.backends.hf.loading import load_model, load_tokenizer
from rope_eval.data.books import read_books

name, file = "model_configs/lab/base-1e5", Path("figure.png")
model, tokenizer = load_model(name, device="cpu"), load_tokenizer(name)
filler = next(iter(read_books("builtin"))).text[:20000]
input_ids = torch.tensor(tokenizer(filler[:300])["input_ids"])
store = Store("results/runs")
"""  # what a block of Python has without saying so
RUNS = """
cat > plan.yaml <<'YAML'
models: [lab/base-1e6]
settings: [{}, {dynamic_ntk: per_query}]
measurements:
  - perplexity: {books: builtin-chapters, lengths: [128, 512], docs: 2}
YAML
rope-eval run plan.yaml
"""
BEGIN_WITH_RUNS = {"figures.md", "plans.md", "report.md", "store.md", "tables.md"}


class Command(NamedTuple):
    language: str
    script: str
    printed: str


def commands(page: str) -> list[Command]:
    """Return what a page says to run, in its order."""
    tokens = MarkdownIt().parse((DOCS / page).read_text(encoding="utf-8"))
    return [
        Command(token.info, token.content, after.content if after and after.info == "text" else "")
        for token, after in zip(tokens, [*tokens[1:], None], strict=True)
        if token.info in _PROGRAM
        and not token.content.startswith(SCRIPT)
        and not (token.info == "bash" and page in ELSEWHERE)
    ]


EVERY_PAGE = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
PAGES = [page for page in EVERY_PAGE if commands(page)]


def ran(language: str, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [*_PROGRAM[language], (_NAMES if language == "python" else "") + script],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PATH": binaries},
        check=False,
    )


def furnish(folder: Path) -> None:
    (folder / "model_configs").mkdir()  # pages write rows of their own there
    for name in ("tasks", "model_configs/lab"):
        (folder / name).symlink_to(ROOT / name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder that some pages begin with: a plan, and what it measured."""
    folder = tmp_path_factory.mktemp("runs")
    furnish(folder)
    done = ran("bash", RUNS, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_pages_have_commands() -> None:
    assert {"index.md", "paths/base.md", "paths/hosts.md", "paths/paper.md"} <= set(PAGES)


def test_every_block_says_its_language() -> None:
    for page in (ROOT / "README.md", *(DOCS / name for name in EVERY_PAGE)):
        for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
            if token.type == "fence":
                assert token.info, f"{page.name}, line {token.map[0] + 1}"


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if page in BEGIN_WITH_RUNS:
        shutil.copytree(
            request.getfixturevalue("runs"), tmp_path, symlinks=True, dirs_exist_ok=True
        )
    else:
        furnish(tmp_path)
    for language, script, printed in commands(page):
        done = ran(language, script, tmp_path)
        assert done.returncode == 0, f"{script}{done.stdout}{done.stderr}"
        if printed:
            assert _lines(done.stdout) == _lines(printed)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
