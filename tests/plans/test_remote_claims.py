"""Claims in a store on another machine, and a plan that two processes do there."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from helpers import servers
from helpers.claims import check_one_owner, winners
from rope_eval.cli import main
from rope_eval.paths import asset
from rope_eval.plans.claiming import FOLDER, this_process
from rope_eval.plans.plan import Plan
from rope_eval.plans.remote_claims import RemoteClaims, claims_of
from rope_eval.plans.worker import work
from rope_eval.results.remote import RemoteFolder, folder_at
from rope_eval.results.store import Store

ELSEWHERE = {"space": "elsewhere", "pid": 1, "born": "1", "id": "another"}
PLAN = f"""\
loading: {{device: cpu, proof: off}}
models: [{asset("model_configs") / "lab" / "base-20"}]
settings:
  - grid: {{rope_theta: [500, 10000, 1000000]}}
measurements:
  - perplexity: {{books: builtin-chapters, lengths: [32, 64], docs: 4}}
"""


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    for package in ("s3fs", "moto", "flask"):
        pytest.importorskip(package)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch, servers.s3(patch) as url:
        yield url


@pytest.fixture(params=["s3", "memory", "not exclusive"])
def folder(
    request: pytest.FixtureRequest, s3: str, monkeypatch: pytest.MonkeyPatch
) -> RemoteFolder:
    where = s3 if request.param == "s3" else "memory://here"
    if request.param == "not exclusive":
        monkeypatch.setattr(RemoteFolder, "is_exclusive", False)
    made = folder_at(f"{where}/{uuid4().hex}")
    assert isinstance(made, RemoteFolder)
    return made


def claims_in(folder: RemoteFolder, lease: float = 60) -> RemoteClaims:
    return RemoteClaims(folder, lease=lease, settle=0.2)


def test_a_unit_is_one_processs(folder: RemoteFolder) -> None:
    check_one_owner(claims_in(folder), claims_in(folder))
    assert folder.below(FOLDER).names() == []


def test_of_many_at_once_one_gets_it(folder: RemoteFolder) -> None:
    assert winners(lambda: claims_in(folder)) == 1


def test_a_server_that_does_not_refuse_a_second_create_is_found(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some servers of S3 do not know If-None-Match: the claim is read back there."""
    folder = folder_at(f"{s3}/{uuid4().hex}")
    assert isinstance(folder, RemoteFolder)
    assert claims_in(folder)._creates_exclusively()
    create = RemoteFolder._create
    monkeypatch.setattr(
        RemoteFolder, "_create", lambda self, path, data, replace: create(self, path, data, True)
    )
    claims, later = claims_in(folder), claims_in(folder)
    assert not claims._creates_exclusively()
    found = folder.below(FOLDER)

    def another_wrote(seconds: float) -> None:
        found.publish("a.0", json.dumps(ELSEWHERE).encode(), replace=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", another_wrote)
        with claims.claim("a") as ours:
            assert not ours
    with later.claim("a") as ours:
        assert not ours
    assert json.loads(found.read("a.0") or b"") == ELSEWHERE  # not ours to remove


def test_another_machines_claim_ends_when_it_stays_the_same_for_a_lease(
    folder: RemoteFolder,
) -> None:
    found = folder.below(FOLDER)

    def beat() -> None:
        text = json.dumps(ELSEWHERE | {"at": time.time(), "beat": uuid4().hex})
        found.publish("unit.4", text.encode(), replace=True)

    claims = claims_in(folder, lease=0.4)
    beat()
    for _ in range(3):
        with claims.claim("unit") as ours:
            assert not ours
        assert claims.held() == ["unit"]
        time.sleep(0.3)
        beat()
    with claims.claim("unit") as ours:
        assert not ours
    time.sleep(0.6)
    assert claims.held() == []
    with claims.claim("unit") as ours:
        assert ours
        assert "unit.5" in found.names()


def test_sweeping_leaves_the_living(folder: RemoteFolder) -> None:
    claims, found = claims_in(folder), folder.below(FOLDER)
    assert claims.sweep() == ([], [])
    now = time.time()
    for name, at in (("far.0", now), ("silent.3", now - 61)):
        found.publish(name, json.dumps(ELSEWHERE | {"at": at}).encode(), replace=True)
    dead = json.dumps(this_process() | {"born": "1", "at": now})
    found.publish("dead.1", dead.encode(), replace=True)
    with claims.claim("mine") as ours:
        assert ours
        swept = [found.place("dead.1"), found.place("silent.3")]
        kept = [found.place("far.0"), found.place("mine.0")]
        assert claims.sweep(dry_run=True) == (swept, kept)
        assert len(found.names()) == 4
        assert claims.sweep() == (swept, kept)
        assert found.names() == ["far.0", "mine.0"]


def test_work_keeps_a_claim_alive(folder: RemoteFolder) -> None:
    others = claims_in(folder, lease=0.6)
    with claims_in(folder, lease=0.6).claim("unit"):
        for _ in range(5):
            time.sleep(0.3)
            with others.claim("unit") as ours:
                assert not ours


def test_a_killed_processs_unit_is_free_at_once(s3: str) -> None:
    url = f"{s3}/{uuid4().hex}"
    hold = (
        "import sys, time; from rope_eval.plans.remote_claims import claims_of;"
        "from rope_eval.results.store import Store\n"
        "with claims_of(Store(sys.argv[1])).claim('unit') as ours:\n"
        "    print(ours, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, url], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        claims = claims_of(Store(url))
        assert isinstance(claims, RemoteClaims)
        with claims.claim("unit") as ours:
            assert not ours
        assert claims.held() == ["unit"]
        holder.kill()
        holder.wait()
        assert claims.held() == []
        with claims.claim("unit") as ours:
            assert ours


def test_two_processes_share_a_plan_in_one_bucket(
    s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{s3}/{uuid4().hex}/runs"
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN + f"results: {url}\n")
    words = [sys.executable, "-m", "rope_eval", "run", str(file), "--shard"]
    workers = [
        subprocess.Popen(
            [*words, f"{i}/2"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for i in (1, 2)
    ]
    said = [worker.communicate()[0].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    computed = [int(text.partition("computed ")[2].partition(" units")[0]) for text in said]
    assert sum(computed) == 12
    plan, alone = Plan.read(file), Store(tmp_path / "alone")
    work(plan, alone)
    there = Store(url)
    assert {run.key: run.results for run in there.runs()} == {
        run.key: run.results for run in alone.runs()
    }
    for run in alone.documents.runs():
        for name, array in alone.documents.arrays(run.key).items():
            assert there.documents.arrays(run.key)[name].tobytes() == array.tobytes()
    assert there.folder.below(FOLDER).names() == []
    assert main(["status", str(file)]) == 0
    assert "3 cells: 3 done; 12 of 12 units stored" in capsys.readouterr().out
    assert main(["store", "export", "--store", url, "-o", str(tmp_path / "runs.csv")]) == 0
    for name in there.folder.names():
        assert servers.PASSWORD.encode() not in (there.folder.read(name) or b"")
