"""docs/notebook.ipynb runs from its first cell to its last, and shows what it was kept with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

ROOT = Path(__file__).parents[1]
NOTEBOOK = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
Outputs = list[dict[str, Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> list[Outputs]:
    """The outputs of the cells of code, when they are run anew."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "model_configs").symlink_to(ROOT / "model_configs")
    notebook = nbformat.from_dict(NOTEBOOK)
    place = {"metadata": {"path": str(folder)}}
    return outputs(nbclient.NotebookClient(notebook, timeout=600, resources=place).execute())


def test_the_cells_show_what_the_notebook_was_kept_with(run: list[Outputs]) -> None:
    kept = outputs(NOTEBOOK)
    assert len(kept) == len(run) == 6
    for ours, theirs in zip(run, kept, strict=True):
        assert words(ours) == words(theirs)
        assert numbers(ours) == pytest.approx(numbers(theirs), rel=1e-2, abs=2e-3)


def test_the_figure_is_shown(run: list[Outputs]) -> None:
    for cells in (run, outputs(NOTEBOOK)):
        assert cells[-1][-1]["data"]["image/png"].startswith("iVBOR")  # PNG's first bytes


def outputs(notebook: Any) -> list[Outputs]:
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


_NUMBER = re.compile(r"-?\d+\.\d+")


def numbers(cell: Outputs) -> list[float]:
    return [float(number) for number in _NUMBER.findall(text(cell))]


def words(cell: Outputs) -> list[str]:
    return _NUMBER.sub("", text(cell)).split()


def text(cell: Outputs) -> str:
    return "".join(cell[-1]["data"]["text/plain"])
