"""The study is a plan: what it asks for, of which text, and that its numbers are the tables'."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lm_eval.tasks import TaskManager

from rope_eval.cli import main
from rope_eval.data.books import read_books
from rope_eval.errors import LengthError
from rope_eval.hosts.lm_eval import evaluate
from rope_eval.plans.measurements.attention import Attention
from rope_eval.plans.measurements.in_window import InWindow
from rope_eval.plans.measurements.lm_eval import Task
from rope_eval.plans.measurements.perplexity import Perplexity
from rope_eval.plans.plan import Plan
from rope_eval.plans.worker import work
from rope_eval.results.store import Store
from rope_eval.scoring.attention_profile import bin_edges
from studies.scaling_laws.held_out import ATTENTION_FILE, CURVES_FILE, attention_pieces, pieces_of
from studies.scaling_laws.measured import AXES, TASKS, Kind
from studies.scaling_laws.names import name_of, set_numbers
from studies.scaling_laws.recipes.grids import GRIDS, SHIPPED
from studies.scaling_laws.recipes.text import training_text
from studies.scaling_laws.tables import open_measured, read_tables

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "studies" / "scaling_laws"
TABLES = ROOT / "results" / "lab"
PLANS = {"lab": "plan.yaml", "gpu": "plan-gpu.yaml"}


def kind_of(measurement: object) -> Kind:
    if isinstance(measurement, Task):
        return TASKS[measurement.task]
    kinds: Mapping[type, Kind] = {
        Perplexity: Kind.CURVE,
        InWindow: Kind.WINDOW,
        Attention: Kind.ATTENTION,
    }
    return kinds[type(measurement)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the grid's text and the study's tasks; lm-eval's own take seconds to read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    monkeypatch.setattr(
        evaluate, "TaskManager", lambda **options: TaskManager(**options, include_defaults=False)
    )
    evaluate._manager.cache_clear()
    assert main(["lab", "text"]) == 0
    return tmp_path


# --- what is asked


@pytest.mark.parametrize("grid", PLANS)
def test_every_cell_has_a_name_and_a_checkpoint_of_the_grid(grid: str) -> None:
    trained = {recipe.name: recipe.rope for recipe in GRIDS[grid].recipes}
    cells = Plan.read(STUDY / PLANS[grid]).cells
    asked = {}
    for cell in cells:
        checkpoint = Path(cell.setting.checkpoint).name
        own = trained[checkpoint]
        assert cell.setting.rope.train_length == own.train_length
        tuned = checkpoint != "pretrained"
        assert cell.setting.rope.pretrain_theta == (10_000 if tuned else None)
        asked[checkpoint, name_of(cell.setting.rope, own), str(cell.measurement)] = cell
    assert {checkpoint for checkpoint, _, _ in asked} == set(trained)
    assert None not in {method for _, method, _ in asked}
    lengths = {c.measurement.lengths for c in cells if isinstance(c.measurement, Perplexity)}
    ((*_, longest),) = lengths
    assert longest == GRIDS[grid].piece_tokens


def test_the_plan_asks_for_what_the_tables_have() -> None:
    trained = {recipe.name: recipe.rope for recipe in GRIDS["lab"].recipes}
    asked: dict[tuple[Kind, str, str | None], list[float]] = {}
    for cell in Plan.read(STUDY / "plan.yaml").cells:
        name = Path(cell.setting.checkpoint).name
        key = kind_of(cell.measurement), name, name_of(cell.setting.rope, trained[name])
        depths = asked.setdefault(key, [])
        if isinstance(cell.measurement, Task) and key[0] == Kind.RETRIEVAL:
            depths += cell.measurement.metadata["depths"]
    runs = {(run.kind, run.checkpoint, run.method): run for run in read_tables(TABLES).runs}
    assert set(asked) == set(runs) and len(runs) == 583 + len(SHIPPED)
    assert {tuple(depths) for key, depths in asked.items() if key[0] == Kind.RETRIEVAL} == {
        (0, 0.5)
    }


def test_the_plan_asks_as_the_tables_were_asked() -> None:
    cells = Plan.read(STUDY / "plan.yaml").cells
    asked = {kind_of(cell.measurement): cell.measurement for cell in cells}
    kinds = (Kind.CURVE, Kind.WINDOW, Kind.RETRIEVAL, Kind.DISTANCES, Kind.ATTENTION)
    curve, window, task, distances, attention = (asked[kind] for kind in kinds)
    there = {run.kind: run.request for run in read_tables(TABLES).runs}
    assert isinstance(curve, Perplexity) and isinstance(window, InWindow)
    assert isinstance(task, Task) and isinstance(attention, Attention)
    assert isinstance(distances, Task)
    assert distances.metadata == there[Kind.DISTANCES]["metadata"]
    assert distances.max_length == there[Kind.DISTANCES]["max_length"]
    assert list(curve.lengths) == there[Kind.CURVE]["lengths"]
    assert window.length == there[Kind.WINDOW]["text"]["tokens"]
    assert task.metadata["lengths"] == there[Kind.RETRIEVAL]["lengths"]
    assert task.metadata["samples"] == there[Kind.RETRIEVAL]["samples"]
    edges = bin_edges(attention.length - 1, attention.bins)
    assert list(edges) == there[Kind.ATTENTION]["bin_edges"]
    assert attention.docs == len(there[Kind.ATTENTION]["pieces"])


# --- the text


def test_pieces_are_held_out_disjoint_and_spread_evenly(folder: Path) -> None:
    whole = b"".join(path.read_bytes() for path in training_text().held_out)
    trained = training_text().tokens.numpy().astype(np.uint8).tobytes()
    pieces = list(read_books(str(folder / "lab" / CURVES_FILE)))
    assert [piece.name for piece in pieces] == [f"piece-{i:02}" for i in range(48)]
    places = []
    for piece in pieces:
        content = piece.text.encode()
        assert len(content) == 4095
        places.append(whole.index(content))
        assert content[2000:2400] not in trained
    gaps = np.diff(places)
    assert (gaps >= 4095).all()
    assert gaps.max() - gaps.min() <= 4095
    assert places[0] == 0 and places[-1] > len(whole) - 3 * 4 * 4095
    some = [piece.name for piece in read_books(str(folder / "lab" / ATTENTION_FILE))]
    assert some == [f"piece-{i:02}" for i in range(0, 48, 8)]


def test_too_little_text_is_an_error() -> None:
    with pytest.raises(LengthError, match="have text for"):
        pieces_of(training_text().held_out[:1], pieces=1000, tokens=4096)


def test_no_piece_is_cut_within_a_character(tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_text("aé" * 40, encoding="utf-8")  # 3 bytes each: every cut of 16 is within some
    pieces = pieces_of([file], pieces=6, tokens=17)
    assert all(piece.strip("aé") == "" for piece in pieces)
    assert all(len(piece.encode()) in (16, 17) for piece in pieces)


@pytest.mark.parametrize("pieces", [48, 54, 96])
def test_attention_is_of_as_many_pieces_of_each_set_from_all_over_the_text(pieces: int) -> None:
    chosen = [int(one) for one in attention_pieces([str(i) for i in range(pieces)])]
    assert np.bincount(set_numbers(pieces)[chosen]).tolist() == [2, 2, 2]
    assert chosen[0] == 0 and chosen[-1] >= 0.8 * pieces
    assert len(set(np.diff(chosen))) == 1


# --- the numbers


FEW = f"""\
loading: {{device: cpu}}
experiments:
  - models: &one [{{row: lab/base-1e5}}]
    settings: [{{}}, {{dynamic_ntk: per_query}}, {{yarn_factor: 8}}]
    measurements:
      - perplexity: {{books: lab/{CURVES_FILE}, lengths: [128, 256, 512], docs: 3}}
      - lm_eval:
          tasks: [lab_retrieval]
          include_path: studies/scaling_laws/tasks
          max_length: 2048
          metadata: {{lengths: [32, 2048], depths: [0], samples: 3}}
  - models: *one
    measurements:
      - in_window: {{books: lab/{CURVES_FILE}, length: 4096, docs: 3}}
  - models: *one
    settings: [{{dynamic_ntk: per_query}}]
    measurements:
      - attention: {{books: lab/{ATTENTION_FILE}, length: 2048, docs: 1, bins: 48}}
"""


def test_the_plans_numbers_are_those_of_the_tables(folder: Path) -> None:
    (folder / "few.yaml").write_text(FEW)
    store = Store(folder / "runs")
    done = work(Plan.read(folder / "few.yaml"), store)
    assert (done.failed, done.cells, done.loads) == ({}, 8, 1)
    measured = open_measured(folder / "runs", GRIDS["lab"])
    there = read_tables(TABLES)
    assert {(run.kind, run.method) for run in measured.runs} == {
        *((kind, name) for kind in ("lab-curve", "lab-retrieval") for name in ("ntk", "YaRN")),
        *((kind, "as trained") for kind in ("lab-curve", "lab-retrieval", "lab-window")),
        ("lab-attention", "ntk"),
    }
    exact = {"hits", "right", "counts"}
    for kind, table in measured.tables.items():
        names = ["checkpoint", "method", *AXES[kind]]
        both = _plain(table).merge(_plain(there.tables[kind]), on=names, suffixes=("", "_there"))
        assert len(both) == len(table) > 0
        for name in set(table) - set(names):
            one, other = (both[column].astype(float) for column in (name, f"{name}_there"))
            tolerance = 0 if name in exact else 1e-5
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance, err_msg=kind)
    marks = measured.tables[Kind.RETRIEVAL]
    assert marks.loc[marks["length"] == 32, "right"].mean() > 0.5  # trained on such lines


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    texts = {name: str for name in ("checkpoint", "method", "part") if name in table}
    return table.astype(texts)
