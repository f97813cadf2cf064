"""Measurements as tables: what was in the store, bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rope_eval.cli import main
from rope_eval.errors import StoreError
from rope_eval.results.store import Run, Store, run_key
from studies.scaling_laws.measurements import Kind
from studies.scaling_laws.tables import Tables, open_runs, write_tables

SHAPES: dict[Kind, dict[str, Any]] = {
    Kind.CURVE: {"lengths": [32, 64, 128]},
    Kind.WINDOW: {"lengths": [32, 64, 128]},
    Kind.RETRIEVAL: {"lengths": [32, 64], "depths": [0.0, 0.5], "samples": 3},
    Kind.ATTENTION: {"bin_edges": [0, 1, 2, 4, 8], "pieces": ["a", "b"]},
}


def _arrays(kind: Kind, rng: np.random.Generator) -> dict[str, Any]:
    if kind == Kind.RETRIEVAL:
        shape = (3, 2, 2)
        return {"right": rng.random(shape) < 0.5, "nll": rng.random(shape).astype(np.float32)}
    if kind == Kind.ATTENTION:
        sums = rng.normal(size=(2, 2, 2, 4))
        return {"sums": sums[0], "squares": sums[1], "counts": np.array([7, 6, 9, 8])}
    nll = rng.random((6, 3)).astype(np.float32)
    return {"nll": nll, "hits": rng.integers(0, 99, (6, 3)).astype(np.int32)}


def _put(store: Store, kind: Kind, name: str, number: int = 0, **more: Any) -> Run:
    rope = {"rope_theta": 20.0, "train_length": 128, "tune_length": 128}
    request = {
        "kind": str(kind),
        "grid": "lab",
        "checkpoint": name,
        "fingerprint": "f" + name,
        "head_dim": 64,
        "method": "as trained",
        "rope": rope,
        "recipe": {"name": name, "rope": rope, "seed": 0, "start_from": "pretrained"},
        "text": {"source": "s", "sha256": "aa", "sets": 3, "documents": 6, "tokens": 128},
    }
    request |= SHAPES[kind] | more
    run = Run(
        key=run_key(request),
        kind=str(kind),
        status="done",
        request=request,
        results={"extrapolation_bound": 1 / 3},
        provenance={"started": f"2026-01-0{number + 1}", "command": ["/home/me/x"], "t": 0.1},
    )
    return store.put(run, _arrays(kind, np.random.default_rng([number, *name.encode()])))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return runs of every kind of two checkpoints, in an order of their own."""
    store = Store(tmp_path / "runs")
    for number, name in enumerate(("b", "a")):
        for kind in Kind:
            _put(store, kind, name, number)
    return store


def _pack(store: Store, *words: str) -> int:
    return main(["lab", "pack", "--store", str(store.root), *words])


def test_tables_give_what_the_store_gives(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _pack(store, "--output", str(tmp_path / "tables")) == 0
    assert "8 measurements are in 5 tables" in capsys.readouterr().out
    tables = open_runs(tmp_path / "tables")
    assert isinstance(tables, Tables)
    for stored, packed in zip(store.runs(), tables.runs(), strict=True):
        assert (packed.key, packed.kind, packed.status) == (stored.key, stored.kind, "done")
        assert (packed.request, packed.results) == (stored.request, stored.results)
        assert packed.provenance == {
            name: value for name, value in stored.provenance.items() if name != "command"
        }
        arrays = tables.arrays(packed.key)
        for name, array in store.arrays(stored.key).items():
            assert arrays[name].dtype == array.dtype
            assert arrays[name].shape == array.shape
            assert arrays[name].tobytes() == array.tobytes()


def test_a_store_is_opened_as_one(store: Store) -> None:
    assert isinstance(open_runs(store.root), Store)


def test_only_the_newest_of_each_is_packed_and_tables_pack_again(
    store: Store, tmp_path: Path
) -> None:
    new = _put(store, Kind.CURVE, "b", 5, fingerprint="made again")
    assert _pack(store, "--output", str(tmp_path / "one")) == 0
    packed = [run for run in Tables(tmp_path / "one").runs() if run.request["checkpoint"] == "b"]
    assert packed == [Run(**_without_command(new))]
    one, two = tmp_path / "one", tmp_path / "two"
    assert _pack(Store(one), "--output", str(two)) == 0
    for file in one.iterdir():
        assert (two / file.name).read_bytes() == file.read_bytes()


def _without_command(run: Run) -> dict[str, Any]:
    names = ("key", "kind", "status", "request", "results", "provenance")
    facts = {name: getattr(run, name) for name in names}
    kept = {name: value for name, value in run.provenance.items() if name != "command"}
    return facts | {"provenance": kept}


def test_what_is_unpacked_is_packed_again_as_it_was(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, runs, two = (tmp_path / name for name in ("one", "again", "two"))
    assert _pack(store, "--output", str(one)) == 0
    assert main(["lab", "unpack", "--tables", str(one), "--store", str(runs)]) == 0
    assert "8 measurements" in capsys.readouterr().out
    again = Store(runs)
    for stored in store.runs():
        assert again.get(stored.key) == Run(**_without_command(stored))
    assert _pack(again, "--output", str(two)) == 0
    for file in one.iterdir():
        assert (two / file.name).read_bytes() == file.read_bytes()


def test_what_is_no_table_is_not_unpacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    assert main(["lab", "unpack", "--tables", str(tmp_path / "no"), "--store", str(runs)]) == 1
    assert "runs.parquet cannot be read" in capsys.readouterr().err
    assert not runs.exists()


def test_pandas_reads_a_row_for_each_place(store: Store, tmp_path: Path) -> None:
    write_tables(tmp_path, list(store.runs()), store)
    for kind, columns in (
        (Kind.CURVE, ["document", "length", "nll", "hits"]),
        (Kind.RETRIEVAL, ["sample", "length", "depth", "right", "nll"]),
        (Kind.ATTENTION, ["document", "part", "distance", "sums", "squares", "counts"]),
    ):
        frame = pd.read_parquet(tmp_path / f"{kind}.parquet")
        assert list(frame) == ["checkpoint", "method", *columns]
    run = next(run for run in store.runs() if run.kind == Kind.ATTENTION)
    arrays = store.arrays(run.key)
    row = frame.set_index(["checkpoint", "document", "part", "distance"]).loc["b", 1, "beyond", 2]
    assert row["squares"] == arrays["squares"][1, 1, 2]
    assert row["counts"] == arrays["counts"][2]


def test_a_failed_measurement_is_not_packed(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = next(run for run in store.runs() if run.kind == Kind.RETRIEVAL)
    facts = _without_command(run) | {"status": "failed", "error": "no memory"}
    store.put(Run(**facts), replace=True)
    assert _pack(store, "--output", str(tmp_path / "tables")) == 2
    assert "lab-retrieval of b (as trained): no memory" in capsys.readouterr().err
    assert not (tmp_path / "tables").exists()


def test_an_array_of_another_shape_is_refused(store: Store, tmp_path: Path) -> None:
    run = _put(store, Kind.CURVE, "c", lengths=[32, 64])
    with pytest.raises(StoreError, match=rf"run {run.key}: its array 'nll' .* \(6, 3\), want"):
        write_tables(tmp_path, [run], store)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("cut", "lab-curve.parquet cannot be read"),
        ("gone", "lab-curve.parquet cannot be read"),
        ("other", "lab-curve.parquet is not of the runs in runs.parquet"),
        ("edited", "is not that of the request"),
    ],
)
def test_damaged_tables_are_an_error(
    store: Store, tmp_path: Path, damage: str, message: str
) -> None:
    runs = list(store.runs())
    curve = next(run for run in runs if run.kind == Kind.CURVE)
    write_tables(tmp_path, runs, store)
    file = tmp_path / "lab-curve.parquet"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:100])
    elif damage == "gone":
        file.unlink()
    elif damage == "other":  # of one run alone: the numbers would be another checkpoint's
        write_tables(tmp_path / "less", [curve], store)
        shutil.copy(tmp_path / "less" / file.name, file)
    else:
        table = pd.read_parquet(tmp_path / "runs.parquet")
        facts = json.loads(table.loc[0, "request"]) | {"method": "ntk"}
        table.loc[0, "request"] = json.dumps(facts)
        table.to_parquet(tmp_path / "runs.parquet")
    with pytest.raises(StoreError, match=message):
        Tables(tmp_path).arrays(curve.key)


def test_bad_input_packs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "tables"
    for words, message in (
        (["--preset", "lap"], "Did you mean 'lab'"),
        ([], "run `rope-eval lab measure` first"),
    ):
        assert _pack(Store(tmp_path / "none"), "--output", str(output), *words) == 2
        assert message in capsys.readouterr().err
    assert not output.exists()
