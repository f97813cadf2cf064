"""The store: keys by content, runs whole or absent whatever happens to the writer."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rope_eval.errors import StoreError
from rope_eval.results.store import Entry, Run, Store, run_key

Arrays = dict[str, npt.NDArray[Any]]

REQUEST = {"kind": "ppl", "spec": {"rope_theta": 500}, "lengths": [64, 128]}
KEY = run_key(REQUEST)


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
    assert store.get(KEY) is None
    assert list(store.runs()) == []
    assert not store.root.exists()
    assert store.put(a_run(1), arrays_of(1)) == a_run(1)
    assert_stands(store, 1)
    assert names_in(store) == [f"{KEY}.zip"]


def test_a_run_is_a_plain_stored_zip(tmp_path: Path) -> None:
    run = a_run(1, provenance={"zebra": 1, "author": "Müller"})
    Store(tmp_path).put(run, arrays_of(1))
    whole = (tmp_path / f"{KEY}.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / f"{KEY}.zip") as archive:
        members = archive.infolist()
        assert [member.filename for member in members] == ["nll.npy", "hit/0.npy", "run.json"]
        assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}
        assert {member.date_time for member in members} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.comment.decode() == hashlib.sha256(whole[:-64]).hexdigest()
        text = archive.read("run.json").decode("utf-8")
        np.testing.assert_array_equal(
            np.load(io.BytesIO(archive.read("nll.npy"))), arrays_of(1)["nll"]
        )
        assert np.load(io.BytesIO(archive.read("hit/0.npy"))).nbytes == 125  # a bit an item
    record = json.loads(text)
    assert "Müller" in text
    assert text == json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert set(record) == {*Run.__dataclass_fields__, "format", "arrays"}
    Store(tmp_path / "again").put(run, arrays_of(1))
    assert (tmp_path / "again" / f"{KEY}.zip").read_bytes() == whole


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0,), dtype=bool),
        np.array(True),
        np.arange(30).reshape(2, 3, 5) % 7 == 0,
        np.asfortranarray(np.arange(12).reshape(3, 4) % 5 == 0),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(3, dtype=">i4"),
        np.array(["a", "Müller"]),
        np.zeros((2, 0, 3), dtype=np.float16),
    ],
)
def test_arrays_of_any_type_and_shape(tmp_path: Path, array: npt.NDArray[Any]) -> None:
    store = Store(tmp_path)
    store.put(a_run(), {"tiny/acc,none": array})
    np.testing.assert_array_equal(store.arrays(KEY)["tiny/acc,none"], array, strict=True)


def test_default_root_is_below_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Store().put(a_run())
    assert (tmp_path / "results" / "runs" / f"{KEY}.zip").is_file()


def test_what_put_returns_is_what_is_read_back(tmp_path: Path) -> None:
    run = a_run(results={"by_length": ((64, 1.5), (128, 2.5))})
    put = Store(tmp_path).put(run)
    assert put == Store(tmp_path).get(run.key)
    assert put.results == {"by_length": [[64, 1.5], [128, 2.5]]}


def test_a_stored_run_stands_unless_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(a_run(1), arrays_of(1))
    before = (tmp_path / f"{KEY}.zip").stat().st_mtime_ns
    assert store.put(a_run(2), arrays_of(2)) == a_run(1)
    assert (tmp_path / f"{KEY}.zip").stat().st_mtime_ns == before
    assert_stands(store, 1)
    assert store.put(a_run(3), arrays_of(3), replace=True) == a_run(3)
    assert_stands(store, 3)
    assert names_in(store) == [f"{KEY}.zip"]


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


def test_no_flipped_bit_is_silent(tmp_path: Path) -> None:
    """Payload, headers, central directory and comment; each read of a run notices each."""
    store = Store(tmp_path)
    store.put(a_run(1), arrays_of(1))
    path = tmp_path / f"{KEY}.zip"
    whole = path.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    random = np.random.default_rng(0)
    anywhere = random.integers(0, 8 * len(whole), 500)
    headers = random.integers(8 * directory, 8 * len(whole), 500)
    silent = []
    for bit in map(int, (*anywhere, *headers)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        for read in (store.get, store.arrays):
            with suppress(StoreError):
                read(KEY)
                silent.append((bit, read.__name__))
    assert silent == []
    path.write_bytes(whole)
    assert_stands(store, 1)


def edited(**changes: object) -> Callable[[bytes], bytes]:
    """A run file with another record, and the checksum of it: no accident, but no run."""

    def edit(whole: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(out, "w") as new:
            record = json.loads(old.read("run.json"))
            new.writestr("run.json", json.dumps(record | changes))
            new.comment = bytes(64)
        body = out.getvalue()[:-64]
        return body + hashlib.sha256(body).hexdigest().encode()

    return edit


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda whole: b"", "it has 0 bytes"),
        (lambda whole: b"not a run", "it has 9 bytes"),
        (lambda whole: whole[:-1], "checksum"),
        (lambda whole: whole + b"x", "checksum"),
        (lambda whole: whole[: len(whole) // 2], "checksum"),
        (lambda whole: whole[:-64] + whole[-64:].upper(), "checksum"),
        (edited(request={"kind": "ppl"}), "is not that of the request"),
        (edited(status="maybe"), "want 'done' or 'failed'"),
        (edited(more=1), "has not the fields of a run"),
        (edited(arrays=[]), "has not the fields of a run"),
        (edited(format=2), "of another format than 1"),
        (edited(results={"ppl": float("nan")}), "want a finite number"),
    ],
)
def test_a_damaged_run_is_named(tmp_path: Path, damage: Callable[[bytes], bytes], why: str) -> None:
    bad: list[Entry] = []
    store = Store(tmp_path, on_bad=bad.append)
    store.put(a_run(1), arrays_of(1))
    path = tmp_path / f"{KEY}.zip"
    path.write_bytes(damage(path.read_bytes()))
    for read in (store.get, store.arrays):
        with pytest.raises(StoreError, match=rf"{KEY}\.zip: a damaged run: .*{why}.*--force"):
            read(KEY)
    assert [list(store.runs()), list(store.runs())] == [[], []]
    [entry] = bad  # once a store
    assert (entry.path, entry.state) == (path, "damaged")
    assert why in entry.why
    assert store.put(a_run(2), arrays_of(2)) == a_run(2)  # what is no run gives way
    assert_stands(store, 2)


def test_what_is_said_of_arrays_must_be_true(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(a_run(1), {"nll": np.ones(3)})
    path = tmp_path / f"{KEY}.zip"
    path.write_bytes(edited()(path.read_bytes()))  # without its arrays
    assert store.get(KEY) == a_run(1)
    with pytest.raises(StoreError, match=r"There is no item named 'nll\.npy'"):
        store.arrays(KEY)


def test_strangers_are_reported_and_hidden_files_are_not(tmp_path: Path) -> None:
    bad: list[Entry] = []
    store = Store(tmp_path, on_bad=bad.append)
    store.put(a_run(1), arrays_of(1))
    other = run_key({"kind": "other"})
    shutil.copyfile(tmp_path / f"{KEY}.zip", tmp_path / f"{other}.zip")
    (tmp_path / f"{'0' * 16}.zip").mkdir()
    (tmp_path / f"{'1' * 16}.zip").symlink_to("/dev/zero")
    (tmp_path / f"{'2' * 16}.zip").symlink_to("nowhere")
    (tmp_path / "notes.txt").write_text("not a run")
    (tmp_path / KEY).mkdir()
    (tmp_path / ".DS_Store").write_text("hidden")
    assert_stands(store, 1)
    assert {entry.path.name: (entry.state, entry.why) for entry in bad} == {
        f"{other}.zip": ("damaged", f"it is the run {KEY}, under another name"),
        f"{'0' * 16}.zip": ("damaged", "it is no file"),
        f"{'1' * 16}.zip": ("damaged", "it is no file"),
        f"{'2' * 16}.zip": ("damaged", "it cannot be read: No such file or directory"),
        "notes.txt": ("foreign", "a run's name is 16 hex digits and .zip"),
        KEY: ("foreign", "a run's name is 16 hex digits and .zip"),
    }


def test_by_default_what_is_left_out_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "notes.txt").touch()
    assert list(Store(tmp_path).runs()) == []
    assert "notes.txt: foreign" in caplog.text


def test_a_store_that_cannot_be_written_is_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "some" / "runs")
    store.require_writable()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "some").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot write to .*runs: Not a directory"):
        store.require_writable()
    (tmp_path / "some").unlink()

    def refuse(**_: object) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(StoreError, match=r"cannot write to .*runs: Read-only file system"):
        store.require_writable()


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

STEPS = ["mkdir", "open", "fsync", "hardlink_to", "unlink", "fsync"]
REPLACING = ["mkdir", "open", "fsync", "replace", "unlink", "fsync"]
NAMED = 3  # the step that gives the run its name


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
            (Path, "hardlink_to"),
            (Path, "replace"),
            (Path, "unlink"),
            (os, "fsync"),
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
        placed = index > NAMED
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
    steps.fail_at, steps.error = 2, OSError(28, "No space left on device")
    with pytest.raises(StoreError, match=r"cannot write to .*: No space left on device\."):
        Store(tmp_path).put(a_run(1), arrays_of(1))


@pytest.mark.parametrize("index", range(NAMED + 1))
def test_the_slower_of_two_writers_gets_the_run_of_the_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    store = Store(tmp_path)
    steps = Steps(monkeypatch)
    steps.before[index] = lambda: Store(tmp_path).put(a_run(1), arrays_of(1))
    assert store.put(a_run(2), arrays_of(2)) == a_run(1)
    assert_stands(store, 1)
    assert names_in(store) == [f"{KEY}.zip"]


@pytest.mark.parametrize("index", range(len(REPLACING)))
def test_two_that_replace_leave_one_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    store = Store(tmp_path)
    store.put(a_run(1), arrays_of(1))
    steps = Steps(monkeypatch)
    steps.before[index] = lambda: Store(tmp_path).put(a_run(2), arrays_of(2), replace=True)
    assert store.put(a_run(3), arrays_of(3), replace=True) == a_run(3)
    assert_stands(store, 2 if index > NAMED else 3)  # who comes last
    assert names_in(store) == [f"{KEY}.zip"]


def test_without_hard_links_a_run_is_whole_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    store = Store(tmp_path)
    assert store.put(a_run(1), arrays_of(1)) == a_run(1)
    assert store.put(a_run(2), arrays_of(2)) == a_run(1)
    assert_stands(store, 1)
    assert names_in(store) == [f"{KEY}.zip"]


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
    assert names_in(Store(tmp_path)) == [f"{KEY}.zip"]


def killed_writer(root: Path) -> None:
    """Let a process write a run, and kill it before the run has its name."""
    code = f"""
import os, signal
from pathlib import Path
import numpy as np
from rope_eval.results.store import Run, Store, run_key
request = {REQUEST!r}
run = Run(key=run_key(request), kind="ppl", status="done", request=request, results={{}},
          provenance={{}})
Path.hardlink_to = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Store({str(root)!r}).put(run, {{"nll": np.ones(100)}})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL


def test_a_writer_killed_by_the_system_leaves_no_run(tmp_path: Path) -> None:
    killed_writer(tmp_path)
    [left] = names_in(Store(tmp_path))
    assert left.startswith(f".{KEY}.")
    bad: list[Entry] = []
    assert list(Store(tmp_path, on_bad=bad.append).runs()) == []
    assert bad == []  # it may be at work
    Store(tmp_path).put(a_run(1), arrays_of(1))
    assert_stands(Store(tmp_path), 1)


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    killed_writer(tmp_path)
    [left] = tmp_path.iterdir()
    store = Store(tmp_path)
    store.put(a_run(1), arrays_of(1))
    (tmp_path / ".DS_Store").touch()
    assert store.sweep() == ([], [left])  # too young: it may be being written
    os.utime(left, (0, 0))
    assert store.sweep(dry_run=True) == ([left], [])
    assert left.exists()
    assert store.sweep() == ([left], [])
    assert names_in(store) == [".DS_Store", f"{KEY}.zip"]
    assert_stands(store, 1)
