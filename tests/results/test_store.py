"""The store: keys by content, runs whole or absent whatever happens to the writer."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rope_eval.errors import StoreError
from rope_eval.results.store import Run, Store, run_key

Arrays = dict[str, npt.NDArray[Any]]

REQUEST = {"kind": "ppl", "spec": {"rope_theta": 500}, "lengths": [64, 128]}


def a_run(mark: int = 0, request: dict[str, Any] = REQUEST, **fields: Any) -> Run:
    """A run with results that say which writer wrote it."""
    given = {"status": "done", "results": {"nll_sum": 0.1 + mark, "mark": mark}, "provenance": {}}
    return Run(**{"key": run_key(request), "kind": "ppl", "request": request, **given, **fields})


def arrays_of(mark: int) -> Arrays:
    nll = np.linspace(0, 1, 1000, dtype=np.float32) + np.float32(mark)
    return {"nll": nll, "hit/0": nll > 0.5}


def assert_stands(store: Store, mark: int) -> None:
    """The run with this mark is whole, its arrays are its own, and it is the only one."""
    assert [run.results["mark"] for run in store.runs()] == [mark]
    assert store.get(run_key(REQUEST)) == a_run(mark)
    stored = store.arrays(run_key(REQUEST))
    assert set(stored) == {"nll", "hit/0"}
    for name, array in arrays_of(mark).items():
        np.testing.assert_array_equal(stored[name], array, strict=True)


def names_in(store: Store) -> list[str]:
    return sorted(path.name for path in store.root.iterdir())


# --- keys -----------------------------------------------------------------------------------


def test_key_is_pinned() -> None:
    """A change of this value makes every stored run unreadable."""
    canonical = b'{"kind":"ppl","lengths":[64,128],"spec":{"rope_theta":500}}'
    assert run_key(REQUEST) == hashlib.sha256(canonical).hexdigest()[:16] == "870dbc74e94ba1ea"


def test_key_depends_on_content_alone() -> None:
    same = {"lengths": (64, 128.0), "spec": {"rope_theta": 500.0}, "kind": "ppl"}
    assert run_key(same) == run_key(REQUEST)
    others = [
        {**REQUEST, "lengths": [64, 128, 256]},
        {**REQUEST, "lengths": [128, 64]},
        {**REQUEST, "spec": {"rope_theta": 500.5}},
        {**REQUEST, "spec": {"rope_theta": "500"}},
        {**REQUEST, "spec": {"rope_theta": None}},
        {**REQUEST, "spec": {"rope_theta": 500, "xpos": False}},
        {**REQUEST, "spec": {"rope_theta": 500, "xpos": True}},
        {**REQUEST, "spec": {"rope_theta": 500, "xpos": 1}},
    ]
    assert len({run_key(request) for request in [REQUEST, *others]}) == len(others) + 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), r"request\.spec\[1\]\.x: want a finite number, got nan"),
        (float("-inf"), "want a finite number, got -inf"),
        (np.float32(1), "want plain JSON values, got float32"),
        (Path("x"), "want plain JSON values, got PosixPath"),
        ({1: 2}, r"request\.spec\[1\]\.x: want strings for keys, got 1"),
        ("\ud800", "want text that UTF-8 can hold"),
    ],
)
def test_key_refuses_what_is_not_json(value: object, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        run_key({"spec": [0, {"x": value}]})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"key": "0" * 16}, "is not that of the request"),
        ({"kind": "needle"}, "two kinds would share a key"),
        ({"status": "ok"}, "want 'done' or 'failed', got 'ok'"),
        ({"status": "failed"}, "has an error"),
        ({"error": "out of memory"}, "has an error"),
        ({"results": {"ppl": float("inf")}}, r"results\.ppl: want a finite number"),
        ({"provenance": None}, "provenance of a run: want a dict, got None"),
    ],
)
def test_run_refuses_what_makes_no_sense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        a_run(**fields)


# --- writing and reading back ---------------------------------------------------------------


def test_round_trip(tmp_path: Path) -> None:
    store = Store(tmp_path / "results" / "runs")
    assert store.get(run_key(REQUEST)) is None
    assert list(store.runs()) == []
    assert not store.root.exists()
    assert store.put(a_run(1), arrays_of(1)) == a_run(1)
    assert_stands(store, 1)
    assert names_in(store) == [run_key(REQUEST)]
    files = sorted(path.name for path in (store.root / run_key(REQUEST)).iterdir())
    assert files == ["run.json", "tokens.npz"]
    with np.load(store.root / run_key(REQUEST) / "tokens.npz") as archive:
        np.testing.assert_array_equal(archive["nll"], arrays_of(1)["nll"])


def test_default_root_is_below_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Store().put(a_run())
    assert (tmp_path / "results" / "runs" / run_key(REQUEST) / "run.json").is_file()


def test_run_file_is_sorted_readable_utf8(tmp_path: Path) -> None:
    run = a_run(provenance={"zebra": 1, "author": "Müller"})
    Store(tmp_path).put(run)
    text = (tmp_path / run.key / "run.json").read_bytes().decode("utf-8")
    assert "Müller" in text
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert set(json.loads(text)) == set(Run.__dataclass_fields__)


def test_what_put_returns_is_what_is_read_back(tmp_path: Path) -> None:
    run = a_run(results={"by_length": ((64, 1.5), (128, 2.5))})
    put = Store(tmp_path).put(run)
    assert put == Store(tmp_path).get(run.key)
    assert put.results == {"by_length": [[64, 1.5], [128, 2.5]]}


def test_a_stored_run_stands_unless_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(a_run(1), arrays_of(1))
    before = (tmp_path / run_key(REQUEST)).stat().st_mtime_ns
    assert store.put(a_run(2), arrays_of(2)) == a_run(1)
    assert (tmp_path / run_key(REQUEST)).stat().st_mtime_ns == before
    assert_stands(store, 1)
    assert store.put(a_run(3), arrays_of(3), replace=True) == a_run(3)
    assert_stands(store, 3)
    assert names_in(store) == [run_key(REQUEST)]


def test_runs_are_sorted_by_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for mark, second in enumerate((30, 10, 20)):
        request = {**REQUEST, "lengths": [mark + 1]}
        started = f"2025-01-01T00:00:{second}.000000+00:00"
        store.put(a_run(mark, request, provenance={"started": started}))
    assert [run.results["mark"] for run in store.runs()] == [1, 2, 0]


def test_a_failed_run_keeps_its_reason_and_may_hold_nan(tmp_path: Path) -> None:
    store = Store(tmp_path)
    nan = {"nll": np.array([1, np.nan], dtype=np.float32)}
    with pytest.raises(StoreError, match="'nll' of a done run holds NaN"):
        store.put(a_run(), nan)
    assert not list(tmp_path.iterdir())
    failed = a_run(status="failed", results={}, error="nll is NaN at token 1")
    store.put(failed, nan)
    assert store.get(failed.key) == failed
    np.testing.assert_array_equal(store.arrays(failed.key)["nll"], nan["nll"])


def test_a_run_without_arrays_reads_back_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(a_run())
    assert store.arrays(run_key(REQUEST)) == {}
    other = run_key({"kind": "other"})
    with pytest.raises(StoreError, match=f"no run {other}"):
        store.arrays(other)
    with pytest.raises(StoreError, match="want numbers, got Python objects"):
        store.put(a_run(), {"x": np.array([None])}, replace=True)


@pytest.mark.parametrize("key", ["", "..", "../runs", "0123456789ABCDEF", "0" * 15])
def test_only_keys_are_looked_up(tmp_path: Path, key: str) -> None:
    with pytest.raises(StoreError, match="is no run: a key is 16 hex digits"):
        Store(tmp_path).get(key)


# --- damage ---------------------------------------------------------------------------------


def edited(**changes: object) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**record, **changes}))

    return edit


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "run.json").unlink(),
        lambda folder: (folder / "tokens.npz").unlink(),
        lambda folder: (folder / "run.json").write_bytes(b""),
        lambda folder: (folder / "run.json").write_bytes(b'{"key": "\xff"}'),
        lambda folder: (folder / "run.json").write_text("[]"),
        edited(request={"kind": "ppl"}),
        edited(status="maybe"),
        edited(more=1),
        edited(results={"ppl": float("nan")}),
    ],
)
def test_a_damaged_run_is_named(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    store = Store(tmp_path)
    store.put(a_run(1), arrays_of(1))
    damage(tmp_path / run_key(REQUEST))
    for read in (store.runs, lambda: store.get(run_key(REQUEST))):
        with pytest.raises(StoreError, match=rf"{run_key(REQUEST)}: a damaged run: .*Delete"):
            read()
    store.put(a_run(2), arrays_of(2), replace=True)
    assert_stands(store, 2)


def test_a_run_under_another_key_and_a_stranger_are_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(a_run())
    other = run_key({"kind": "other"})
    shutil.copytree(tmp_path / run_key(REQUEST), tmp_path / other)
    with pytest.raises(StoreError, match=rf"{other}: a damaged run: run.json is that of the run"):
        list(store.runs())
    shutil.rmtree(tmp_path / other)
    (tmp_path / "notes.txt").write_text("a file is no run folder")
    (tmp_path / ".hidden").mkdir()
    assert [run.key for run in store.runs()] == [run_key(REQUEST)]
    (tmp_path / "notes").mkdir()
    with pytest.raises(StoreError, match="notes is no run"):
        list(store.runs())


def test_damaged_arrays_are_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(a_run(1), arrays_of(1))
    path = tmp_path / run_key(REQUEST) / "tokens.npz"
    whole = path.read_bytes()
    middle = len(whole) // 2
    for data in (
        b"",
        b"not an archive",
        whole[:middle],
        whole[:-1],
        whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
    ):
        path.write_bytes(data)
        with pytest.raises(StoreError, match=f"{run_key(REQUEST)}: a damaged run"):
            store.arrays(run_key(REQUEST))


def test_a_root_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to .*file/runs: Not a directory"):
        Store(tmp_path / "file" / "runs").put(a_run())

    def mkdir(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(StoreError, match=r"cannot write to .*runs: Permission denied\. Check"):
        Store(tmp_path / "runs").put(a_run())


# --- whole or absent ------------------------------------------------------------------------

STEPS = ["mkdir", "open", "fsync", "open", "fsync", "fsync", "rename", "fsync", "rmtree"]
REPLACING = [*STEPS[:6], "rename", "rename", "rename", "fsync", "rmtree", "rmtree"]


class Killed(BaseException):
    """What stands for a kill: no handler of errors sees it, and no cleaning up follows."""


class Steps:
    """Counts the steps of a write on the disk and fails at one of them, before or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[str] = []
        self.fail_at: int | None = None
        self.error: BaseException = Killed()
        self.before: dict[int, Callable[[], object]] = {}
        self.dead = False
        for owner, name in (
            (Path, "mkdir"),
            (Path, "open"),
            (Path, "rename"),
            (os, "fsync"),
            (shutil, "rmtree"),
        ):
            monkeypatch.setattr(owner, name, self.step(name, getattr(owner, name)))

    def step(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            if self.dead:
                raise Killed
            # Only writes: reading opens files too.
            if name == "open" and args[1:] != ("xb",):
                return real(*args, **options)
            index = len(self.seen)
            self.seen.append(name)
            if index in self.before:
                self.before[index]()
            if index == self.fail_at:
                self.dead = isinstance(self.error, Killed)
                raise self.error
            return real(*args, **options)

        return counted


@pytest.mark.parametrize("replace", [False, True])
def test_everything_is_on_the_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    if replace:
        Store(tmp_path).put(a_run(1), arrays_of(1))
    steps = Steps(monkeypatch)
    Store(tmp_path).put(a_run(2), arrays_of(2), replace=replace)
    assert steps.seen == (REPLACING if replace else STEPS)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("error", [Killed(), OSError(28, "No space left on device")])
def test_a_write_that_ends_anywhere_leaves_a_whole_run_or_none(
    tmp_path: Path, replace: bool, error: BaseException
) -> None:
    count = len(REPLACING if replace else STEPS)
    for index in range(count):
        store = Store(tmp_path / str(index))
        store.root.mkdir()
        if replace:
            store.put(a_run(1), arrays_of(1))
        with pytest.MonkeyPatch.context() as monkeypatch:
            steps = Steps(monkeypatch)
            steps.fail_at, steps.error = index, error
            # Only removing what is left behind may fail in silence.
            with suppress(Killed, StoreError):
                store.put(a_run(2), arrays_of(2), replace=replace)
            assert len(steps.seen) > index
        placed = index > (REPLACING.index("rename") + 2 if replace else STEPS.index("rename"))
        if placed or replace:
            assert_stands(store, 2 if placed else 1)
        else:
            assert list(store.runs()) == []
            assert store.get(run_key(REQUEST)) is None
        if isinstance(error, OSError) and not placed:
            assert not [name for name in names_in(store) if name.endswith(".tmp")]
        store.put(a_run(3), arrays_of(3), replace=True)
        assert_stands(store, 3)


def test_a_full_disk_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    steps.fail_at, steps.error = 4, OSError(28, "No space left on device")
    with pytest.raises(StoreError, match=r"cannot write to .*: No space left on device\."):
        Store(tmp_path).put(a_run(1), arrays_of(1))


@pytest.mark.parametrize("index", [1, 3, 5, 6])
def test_the_slower_of_two_writers_gets_the_run_of_the_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    store = Store(tmp_path)
    steps = Steps(monkeypatch)
    steps.before[index] = lambda: Store(tmp_path).put(a_run(1), arrays_of(1))
    assert store.put(a_run(2), arrays_of(2)) == a_run(1)
    assert_stands(store, 1)
    assert names_in(store) == [run_key(REQUEST)]


@pytest.mark.parametrize("index", range(len(REPLACING)))
def test_two_that_replace_leave_one_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    store = Store(tmp_path)
    store.put(a_run(1), arrays_of(1))
    steps = Steps(monkeypatch)
    steps.before[index] = lambda: Store(tmp_path).put(a_run(2), arrays_of(2), replace=True)
    assert store.put(a_run(3), arrays_of(3), replace=True) == a_run(3)
    # The other writer comes last once ours is in place.
    assert_stands(store, 2 if index > REPLACING.index("rename") + 2 else 3)
    assert names_in(store) == [run_key(REQUEST)]


def test_replacing_what_another_has_just_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.put(a_run(1), arrays_of(1))
    steps = Steps(monkeypatch)
    final = tmp_path / run_key(REQUEST)
    aside = tmp_path / f".{run_key(REQUEST)}.1.old"
    steps.before[REPLACING.index("rename") + 1] = lambda: os.rename(final, aside)  # noqa: PTH104
    assert store.put(a_run(2), arrays_of(2), replace=True) == a_run(2)
    assert_stands(store, 2)


@pytest.mark.parametrize("replace", [False, True])
def test_many_writers_at_once_leave_one_whole_run(tmp_path: Path, replace: bool) -> None:
    start = threading.Barrier(8)
    returned: list[int] = []

    def write(mark: int) -> None:
        start.wait()
        stored = Store(tmp_path).put(a_run(mark), arrays_of(mark), replace=replace)
        returned.append(stored.results["mark"])

    threads = [threading.Thread(target=write, args=(mark,)) for mark in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [run] = Store(tmp_path).runs()
    assert_stands(Store(tmp_path), run.results["mark"])
    assert sorted(returned) == (list(range(8)) if replace else [run.results["mark"]] * 8)
    assert names_in(Store(tmp_path)) == [run_key(REQUEST)]


def test_a_writer_killed_by_the_system_leaves_no_run(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
import numpy as np
from rope_eval.results.store import Run, Store, run_key
request = {REQUEST!r}
run = Run(key=run_key(request), kind="ppl", status="done", request=request, results={{}},
          provenance={{}})
Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Store({str(tmp_path)!r}).put(run, {{"nll": np.ones(100)}})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    [left] = names_in(Store(tmp_path))
    assert left.startswith(f".{run_key(REQUEST)}.")
    assert list(Store(tmp_path).runs()) == []
    Store(tmp_path).put(a_run(1), arrays_of(1))
    assert_stands(Store(tmp_path), 1)
