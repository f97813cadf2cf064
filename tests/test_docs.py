"""Every command of the pages runs as it is written, and prints what the page says it prints.

A block of `bash` or `python` is run, page by page, in the order of the page and in one folder; a
block of `text` right after it is its output. The first page and the three paths are walked from
the wheel, in an empty folder; the others have a checkout's tasks and checkpoints beside them. What
needs a GPU, a hub or another environment is in a block of `console` or `py`, and the tests of that
room run it; that the command line takes its words is tested here.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown_it import MarkdownIt

from helpers.warm import BUSY, warm
from helpers.wheels import built, unpacked
from rope_eval.cli import build_parser
from rope_eval.lengths import parse_lengths
from rope_eval.rope.spec import RopeSpec

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ELSEWHERE = {"figures.md"}  # its commands: test_figures_page.py; its Python: here
SCRIPT = "#!"  # a file for another program, tested by plans/test_slurm.py
WALKED = {"index.md", "paths/base.md", "paths/hosts.md", "paths/paper.md"}  # from the wheel
_PROGRAM = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": ["python", "-c"]}
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


class Place(NamedTuple):
    """A package that commands run from, and the folder of its programs."""

    package: Path
    programs: Path

    def ran(self, language: str, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
        path = (str(self.programs), str(Path(sys.executable).parent), os.environ["PATH"])
        program, *words = _PROGRAM[language]
        return subprocess.run(
            [shutil.which(program, path=path[0]) or program, *words, script],
            cwd=folder,
            capture_output=True,
            text=True,
            env=os.environ
            | BUSY
            | {"PATH": os.pathsep.join(path), "PYTHONPATH": str(self.package)},
            check=False,
        )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with warm(tmp_path_factory.mktemp("c"), ROOT) as programs:
        yield Place(ROOT, programs)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    file = built("wheel", ROOT, tmp_path_factory.mktemp("dist"))
    package = unpacked(file, tmp_path_factory.mktemp("installed"))
    with warm(tmp_path_factory.mktemp("w"), package) as programs:
        yield Place(package, programs)


def furnish(folder: Path) -> None:
    (folder / "model_configs").mkdir()  # pages write rows of their own there
    for name in ("tasks", "model_configs/lab"):
        (folder / name).symlink_to(ROOT / name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, checkout: Place) -> Path:
    """Make the folder that some pages begin with: a plan, and what it measured."""
    folder = tmp_path_factory.mktemp("runs")
    furnish(folder)
    done = checkout.ran("bash", RUNS, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_pages_have_commands() -> None:
    assert set(PAGES) >= WALKED


def test_every_block_says_its_language() -> None:
    for page in (ROOT / "README.md", *(DOCS / name for name in EVERY_PAGE)):
        for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
            if token.type == "fence":
                assert token.info, f"{page.name}, line {token.map[0] + 1}"


@pytest.mark.parametrize("page", [page for page in PAGES if page not in WALKED])
def test_the_commands_of_a_page(
    page: str, tmp_path: Path, checkout: Place, request: pytest.FixtureRequest
) -> None:
    if page in BEGIN_WITH_RUNS:
        shutil.copytree(
            request.getfixturevalue("runs"), tmp_path, symlinks=True, dirs_exist_ok=True
        )
    else:
        furnish(tmp_path)
    walk(page, tmp_path, checkout, _NAMES)


@pytest.mark.parametrize("page", sorted(WALKED))
def test_a_path_from_the_wheel_in_an_empty_folder(page: str, tmp_path: Path, wheel: Place) -> None:
    said = wheel.ran("python", "import rope_eval; print(rope_eval.__file__)", tmp_path)
    assert Path(said.stdout.strip()).is_relative_to(wheel.package)
    walk(page, tmp_path, wheel)


def walk(page: str, folder: Path, place: Place, names: str = "") -> None:
    """Run the blocks of a page, those of Python with names that they have without saying so."""
    for language, script, printed in commands(page):
        whole = names + script if language == "python" else script
        done = place.ran(language, whole, folder)
        assert done.returncode == 0, f"{script}{done.stdout}{done.stderr}"
        if printed:
            assert _lines(done.stdout) == _lines(printed)


# ---- commands that are not run -----------------------------------------------------------------


def shown_commands() -> list[tuple[str, str]]:
    """Return every command line of ours in a block that is not run, with its page."""
    found = []
    for page in (ROOT / "README.md", *(DOCS / name for name in EVERY_PAGE)):
        for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
            if token.type == "fence" and token.info not in _PROGRAM:
                for line in token.content.replace("\\\n", " ").splitlines():
                    words = re.sub(r"\s#\s.*|[|>&;].*", "", line).removeprefix("$ ")
                    words = re.sub(r"^\w+=\S+ |torchrun .* -m rope_eval", "", words)
                    if words.startswith("rope-eval "):
                        found.append((page.name, words.strip()))
    return found


def test_the_pages_show_commands() -> None:
    assert len(shown_commands()) > 10


@pytest.mark.parametrize(("page", "command"), shown_commands())
def test_the_command_line_takes_what_is_shown(page: str, command: str) -> None:
    words = shlex.split(command)[1:]
    args, rest = build_parser().parse_known_args(words)
    assert not rest or getattr(args, "passes_on", False), rest
    RopeSpec.parse(getattr(args, "rope", None) or "")
    if isinstance(lengths := getattr(args, "lengths", None), str):
        parse_lengths(lengths)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
