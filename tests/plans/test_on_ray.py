"""A plan on a Ray cluster of two nodes, one of which is killed in the middle of it."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rope_eval.cli import main
from rope_eval.errors import SpecError, StoreError
from rope_eval.files import place
from rope_eval.paths import asset
from rope_eval.plans.claiming import FOLDER
from rope_eval.plans.claims import Claims
from rope_eval.plans.on_ray import Fleet, _all_of, _fitting, _gpus, _shared
from rope_eval.plans.plan import Plan
from rope_eval.plans.ray_worker import MOST_LOST
from rope_eval.plans.worker import Done, work
from rope_eval.results.store import Store

PLAN = f"""\
loading: {{device: cpu, proof: off}}
models: [{asset("model_configs") / "lab" / "base-20"}]
settings:
  - grid: {{rope_theta: [500, 1000, 10000, 100000, 1000000]}}
measurements:
  - perplexity: {{books: builtin-chapters, lengths: [32, 512], docs: 10}}
"""
UNITS = 50
EVERY_SECONDS = 0.4


CLUSTER = """
import sys
from ray.cluster_utils import Cluster
one = {"num_cpus": 1, "object_store_memory": 80 << 20}
cluster = Cluster(initialize_head=True, head_node_args=one | {"include_dashboard": False})
second = cluster.add_node(**one)
cluster.wait_for_nodes()
print("address", cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(second, allow_graceful=False)
sys.stdin.readline()
cluster.shutdown()
"""


@pytest.fixture
def cluster() -> Iterator[subprocess.Popen[str]]:
    """Two nodes of one processor each, as processes of this machine; a line kills the second."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as made:
        yield made
        made.communicate("\n\n")


def address_of(cluster: subprocess.Popen[str]) -> str:
    assert cluster.stdout is not None
    for line in cluster.stdout:
        if line.startswith("address "):
            return line.split()[1]
    pytest.fail("no cluster")


def kill_second(cluster: subprocess.Popen[str]) -> None:
    assert cluster.stdin is not None
    cluster.stdin.write("\n")
    cluster.stdin.flush()


def documents(folder: Path) -> dict[str, tuple[int, int]]:
    """Return each document's file as the file system knows it: one written again is another."""
    found = {}
    for path in (folder / "documents").glob("*.zip"):
        about = path.stat()
        if kind_of(path) == "document":  # token counts are written again by each worker
            found[path.name] = about.st_ino, about.st_mtime_ns
    return found


@contextmanager
def held(folder: Path, keys: list[str]) -> Iterator[list[ExitStack]]:
    """Claim units, so that no worker does all before another begins; who closes one gives it."""
    with ExitStack() as all_of_them:
        stacks = []
        for key in keys:
            stacks.append(all_of_them.enter_context(ExitStack()))
            assert stacks[-1].enter_context(Claims(folder).claim(key))
        yield stacks


@functools.cache
def kind_of(path: Path) -> str:
    run = Store(path.parent).get(path.stem)
    assert run is not None
    return run.kind


def processes(folder: Path) -> set[int]:
    """Return which processes have claims."""
    found = set()
    for path in (folder / FOLDER).glob("*.*"):
        try:
            found.add(json.loads(path.read_text())["pid"])
        except (OSError, ValueError):  # given back, or being written
            continue
    return found


def test_a_killed_node_loses_doubles_and_changes_nothing(
    cluster: subprocess.Popen[str], tmp_path: Path
) -> None:
    file, folder = tmp_path / "plan.yaml", tmp_path / "runs"
    file.write_text(PLAN)
    alone, there = Store(tmp_path / "alone"), Store(folder)
    work(Plan.read(file), alone)
    scored = [run.key for run in alone.documents.runs() if run.kind == "document"]
    assert len(scored) == UNITS
    command = [
        *(sys.executable, "-m", "rope_eval", "run", str(file), "--store", str(folder)),
        *("--ray", address_of(cluster)),
    ]
    first: dict[str, tuple[int, int]] = {}
    workers: set[int] = set()
    killed_at, given_at = None, 0.0
    with (
        held(folder, scored[1:]) as ours,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as driver,
    ):
        while driver.poll() is None:
            for name, file_is in documents(folder).items():
                assert first.setdefault(name, file_is) == file_is, f"{name} was computed twice"
            workers |= processes(folder) - {os.getpid()}
            if killed_at is None and len(workers) == 2 and len(first) >= 10:
                killed_at = len(first)
                kill_second(cluster)
            given = first and (killed_at or time.monotonic() - given_at > EVERY_SECONDS)
            if ours and given:
                ours.pop().close()
                given_at = time.monotonic()
            time.sleep(0.01)
        said, errors = driver.communicate()
    assert driver.returncode == 0, errors
    assert "5 of 5 cells done, 0 failed" in said
    assert killed_at is not None and 10 <= killed_at < UNITS
    assert {name: now for name, now in documents(folder).items() if name in first} == first
    assert {run.key: run.results for run in there.runs()} == {
        run.key: run.results for run in alone.runs()
    }
    for key in scored:
        for name, array in alone.documents.arrays(key).items():
            assert there.documents.arrays(key)[name].tobytes() == array.tobytes()
    commands = {tuple(run.provenance["command"][1:]) for run in there.runs()}
    assert commands == {("run", *command[4:])}
    assert not list(folder.glob(".seen-*"))


def test_a_cell_that_takes_workers_down_has_failed_and_the_rest_goes_on(
    cluster: subprocess.Popen[str], tmp_path: Path
) -> None:
    """The code of this model ends the process that loads it, as the kernel does out of memory."""
    lab, model = asset("model_configs") / "lab" / "base-20", tmp_path / "greedy"
    shutil.copytree(lab, model)
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "greedy", "auto_map": {"AutoConfig": "greedy.Greedy"}}
    (model / "config.json").write_text(json.dumps(config))
    (model / "greedy.py").write_text(
        "import os, signal\nfrom transformers import PretrainedConfig\n"
        f"open({str(tmp_path / 'tries')!r}, 'a').write('x')\nos.kill(os.getpid(), signal.SIGKILL)\n"
        "class Greedy(PretrainedConfig):\n    model_type = 'greedy'\n"
    )
    file = tmp_path / "plan.yaml"
    file.write_text(
        f"loading: {{device: cpu, proof: off, trust_remote_code: true}}\n"
        f"models: [{model}, {lab}]\nmeasurements:\n"
        "  - perplexity: {books: builtin-chapters, lengths: [32], docs: 2}\n"
    )
    words = [sys.executable, "-m", "rope_eval", "run", str(file), "--ray", address_of(cluster)]
    words += ["--store", str(tmp_path / "runs"), "--ray-workers", "1"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "1 of 2 cells done, 1 failed" in done.stdout
    assert f"{MOST_LOST} workers were lost while they were at it, as when memory" in done.stderr
    assert (tmp_path / "tries").read_text() == "x" * MOST_LOST
    (run,) = Store(tmp_path / "runs").runs()
    assert run.request["model"] == lab.name


def test_workers_that_fail_are_reasons_and_what_is_interrupted_is_cancelled() -> None:
    class RayError(Exception):
        def __init__(self, cause: Exception | None) -> None:
            super().__init__("of Ray")
            self.cause = cause

    class Ray(SimpleNamespace):
        exceptions = SimpleNamespace(RayError=RayError)

        def wait(self, pending: list[Any], **_: object) -> tuple[list[Any], list[Any]]:
            return pending[:1], pending[1:]

        def get(self, one: Any, **_: object) -> Any:
            if isinstance(one, BaseException):
                raise one
            return one

    board = SimpleNamespace(read=SimpleNamespace(remote=lambda: ("a unit", 0.5)))
    full, lost = StoreError("no space"), ModuleNotFoundError("No module named 'rope_eval'")
    workers = [RayError(full), Done(units=3), RayError(lost), RayError(None)]
    seen: list[tuple[str, float]] = []
    done, errors = _all_of(Ray(), workers, board, lambda what, part: seen.append((what, part)))
    assert done == [Done(units=3)] and seen == [("a unit", 0.5)] * 4
    assert errors[0] is full
    assert "ModuleNotFoundError: No module named 'rope_eval'. Is the same" in str(errors[1])
    assert "RayError: of Ray" in str(errors[2])
    cancelled: list[Any] = []
    ray = Ray(cancel=cancelled.append)
    with pytest.raises(KeyboardInterrupt):
        _all_of(ray, [KeyboardInterrupt(), "second", "third"], board, lambda what, part: None)
    assert cancelled == ["second", "third"]


@pytest.mark.parametrize("text", ["{}", "file://{}"])
def test_a_shared_folder_is_known_by_a_file(tmp_path: Path, text: str) -> None:
    with _shared(place(text.format(tmp_path / "runs"))) as (folder, witness):
        assert folder == tmp_path / "runs" and witness is not None
        assert [path.name for path in (tmp_path / "runs").iterdir()] == [witness]
    assert not list((tmp_path / "runs").iterdir())
    with _shared("memory://here/runs") as (folder, witness):
        assert (folder, witness) == ("memory://here/runs", None)


def fake_ray(*machines: dict[str, float]) -> SimpleNamespace:
    return SimpleNamespace(
        nodes=lambda: (
            [{"Alive": True, "Resources": machine} for machine in machines]
            + [{"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}]
        ),
        cluster_resources=lambda: {"GPU": sum(m.get("GPU", 0) for m in machines)},
    )


def test_as_many_workers_as_fit() -> None:
    ray = fake_ray({"CPU": 8.0}, {"CPU": 8.0, "GPU": 4.0}, {"CPU": 3.0, "GPU": 2.0})
    assert _fitting(ray, 1, 0) == 19
    assert _fitting(ray, 4, 0) == 4
    assert _fitting(ray, 1, 1) == 6
    assert _fitting(ray, 2, 1) == 5
    assert _fitting(ray, 1, 0.5) == 11
    with pytest.raises(SpecError, match=r"takes 9 CPUs and 0 GPUs.*8 CPUs and 4 GPUs; 3 CPUs"):
        _fitting(ray, 9, 0)


@pytest.mark.parametrize(
    ("device", "asked", "gpus"),
    [("null", None, 1), ("cuda", None, 1), ("cpu", None, 0), ("cpu", 2, 2), ("cuda", 0, 0)],
)
def test_a_gpu_for_each_worker_where_the_plan_may_use_one(
    tmp_path: Path, device: str, asked: float | None, gpus: float
) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        PLAN.replace("device: cpu", "dtype: auto" if device == "null" else f"device: {device}")
    )
    plan = Plan.read(file)
    assert _gpus(fake_ray({"GPU": 1.0}), plan, Fleet(gpus=asked)) == gpus
    if asked is None:
        assert _gpus(fake_ray({"CPU": 1.0}), plan, Fleet()) == 0


def test_options_of_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    for words, why in (
        (["--ray-cpus", "2"], "go with --ray"),
        (["--ray", "--shard", "1/2"], "leave it or --ray out"),
        (["--ray", "--ray-gpus", "-1"], "the GPUs of a worker must be 0 or more, got -1.0"),
        (["--ray", "--ray-workers", "0"], "--ray-workers must be 1 or more"),
    ):
        assert main(["run", str(file), *words]) == 2
        assert why in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["run", str(file), "--store", str(tmp_path / "runs"), "--ray"]) == 2
    assert "`pip install 'rope-eval[ray]'`" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "rope_eval", "run", str(file), "--ray", "127.0.0.1:1"),
            *("--store", str(tmp_path / "runs")),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "error: there is no Ray cluster at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
