"""Every command of docs/figures.md runs as it is written, and its pictures are small."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from helpers.figure_store import put_attention, put_books, put_in_windows, put_task
from rope_eval import catalogue
from rope_eval.cli import main
from rope_eval.results.store import Store

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
COMMANDS = "".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)).splitlines()
ROWS = ("lab/pretrained", "lab/base-20", "lab/base-1e5", "lab/base-1e6")


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go where the page's store is, with scores of our own in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for file in (ROOT / "docs").glob("figures*.yaml"):
        (tmp_path / "docs" / file.name).symlink_to(file)
    store = Store(tmp_path / "figures")
    for name in ROWS:
        fields = catalogue.find(name).rope.to_dict()
        model = name.removeprefix("lab/")
        put_books(store, model, row=name, **fields)
        put_in_windows(store, model, row=name, **fields)
        put_attention(store, model, row=name, **fields)
        metrics = {f"accuracy_depth_{d}@{n},none": 0.5 for d in (0, 1) for n in (64, 128)}
        put_task(store, model, "lab_retrieval", metrics=metrics, row=name, **fields)
    put_books(store, "base-1e5", **catalogue.find("lab/base-1e5").rope.to_dict(), yarn_factor=8)
    return tmp_path


def test_the_page_has_a_command_a_kind() -> None:
    kinds = {line.split()[2] for line in COMMANDS if line.startswith("rope-eval figure")}
    table = set(re.findall(r"^\| `(\w+)` \|", PAGE.partition("| option")[0], re.MULTILINE))
    assert kinds == table and len(kinds) == 7


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, *words = shlex.split(command)
    assert program == "rope-eval"
    if words[0] == "run":
        words.append("--dry-run")
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out
    if words[0] == "figure":
        picture = there / words[words.index("-o") + 1]
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert f"]({picture.name})" in PAGE
        assert (ROOT / "docs" / picture.name).stat().st_size < 60_000
