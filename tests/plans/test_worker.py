"""A plan on an embedded checkpoint: the numbers of `ppl`, one loading, failures and sharing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from rope_eval import runner
from rope_eval.cli import main
from rope_eval.errors import ScoreError, StoreError
from rope_eval.paths import asset
from rope_eval.plans import models, survey
from rope_eval.plans.claims import Claims
from rope_eval.plans.plan import Plan
from rope_eval.plans.worker import work
from rope_eval.results.store import Store
from rope_eval.scoring import planned

LAB = asset("model_configs") / "lab"
PLAN = f"""\
loading: {{device: cpu}}
models: [{LAB}/base-20]
settings: [{{}}, {{log_scale: true, pretrain_theta: 10000}}, {{rope_theta: 1e6}}]
measurements:
  - perplexity: {{books: builtin-chapters, lengths: [32, 64], docs: 3}}
"""


def plan(tmp_path: Path, text: str = PLAN) -> Plan:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    return Plan.read(file)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def states(made: Plan, store: Store) -> list[str]:
    return [one.state for one in survey.survey(made, store)]


def test_a_plan_is_its_runs_from_one_loading(tmp_path: Path, store: Store) -> None:
    made = plan(tmp_path)
    assert states(made, store) == ["to do"] * 3
    seen: list[float] = []
    done = work(made, store, progress=lambda cell, unit, part: seen.append(part))
    assert (done.units, done.cells, done.loads, done.failed) == (9, 3, 1, {})
    assert seen == sorted(seen) and 0.9 < seen[-1] <= 1
    alone = Store(tmp_path / "alone")
    for cell in made.cells:
        one = runner.measure(
            runner.CumulativeRequest(
                model=cell.setting.checkpoint,
                rope=cell.setting.rope,
                books="builtin-chapters",
                lengths=(32, 64),
                documents=3,
                loading=cell.loading,
            ),
            alone,
        )
        kept = store.get(one.key)
        assert kept is not None
        assert kept.results == one.results
        assert kept.request == one.request
        assert kept.provenance["ran"] == one.provenance["ran"]
        proofs = [dict(run.provenance["proof"], seconds=None) for run in (kept, one)]
        assert proofs[0] == proofs[1]
    standings = list(survey.survey(made, store))
    assert [(one.state, one.stored, one.units) for one in standings] == [("done", 3, 3)] * 3
    again = work(made, store)
    assert (again.units, again.cells, again.loads) == (0, 3, 0)


def test_a_model_that_changes_is_loaded_again(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "model"
    shutil.copytree(LAB / "base-20", folder)
    made = plan(tmp_path, PLAN.replace(f"{LAB}/base-20", str(folder)))
    holder = models.LoadedModel()
    first = holder.get(str(folder), made.cells[0].loading)
    assert holder.get(str(folder), made.cells[0].loading) is first
    shutil.copytree(LAB / "base-1e6", folder, dirs_exist_ok=True)
    assert holder.get(str(folder), made.cells[0].loading) is not first
    assert holder.loads == 2


def test_what_fails_is_kept_with_its_reason_and_the_rest_goes_on(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(LAB / "base-20", broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    made = plan(tmp_path, PLAN.replace("models: [", f"models: [{broken}, "))
    real = planned.score_lengths

    def out_of_memory(*args: object, **options: object) -> object:
        if out_of_memory.left:
            out_of_memory.left -= 1
            raise MemoryError("no room")
        return real(*args, **options)

    out_of_memory.left = 1
    monkeypatch.setattr(planned, "score_lengths", out_of_memory)
    done = work(made, store)
    assert (done.cells, done.units, len(done.failed)) == (2, 6, 4)
    found = list(survey.survey(made, store))
    assert [one.state for one in found] == ["failed"] * 4 + ["done"] * 2
    assert "model.safetensors" in found[0].why
    assert found[3].why == "MemoryError: no room"
    assert work(made, store).units == 0
    retried = work(made, store, retry=True)
    assert (retried.units, retried.cells, len(retried.failed)) == (3, 3, 3)
    assert states(made, store) == ["failed"] * 3 + ["done"] * 3
    assert [run.kind for run in store.runs()] == ["cumulative"] * 3


def test_a_document_that_fails_is_not_tried_again_unasked(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(tmp_path)
    real = planned.score_lengths
    calls: list[int] = []

    def second_fails(*args: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise ScoreError("not a number")
        return real(*args, **options)

    monkeypatch.setattr(planned, "score_lengths", second_fails)
    work(made, store)
    assert states(made, store) == ["partly failed", "done", "done"]
    assert len(calls) == 9
    work(made, store)
    assert len(calls) == 9
    work(made, store, retry=True)
    assert len(calls) == 10
    assert states(made, store) == ["done"] * 3


def test_what_another_process_is_at_is_left_and_taken_over(tmp_path: Path, store: Store) -> None:
    made = plan(tmp_path)
    keys = units_of(made, store)
    waits: list[float] = []
    with Claims(store.root).claim(keys[4]) as ours:
        assert ours

        def look(seconds: float) -> None:
            (one,) = [one for one in survey.survey(made, store) if one.state == "partly done"]
            assert (one.stored, one.at_work) == (2, 1)
            waits.append(seconds)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            work(made, store, wait=look)
    assert len(waits) == 1
    assert Claims(store.root).held() == []
    done = work(made, store)
    assert (done.units, done.cells) == (1, 3)


def units_of(made: Plan, store: Store) -> list[str]:
    return [key for cell in made.cells for key in cell.measurement.prospect(cell, store).units]


def test_a_unit_that_another_process_has_just_done_is_read(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(tmp_path)
    real = Claims.claim
    inner: list[int] = []

    @contextmanager
    def late(self: Claims, key: str):  # type: ignore[no-untyped-def]
        if not inner:  # between our look at the store and our claim another does everything
            inner.append(1)
            inner.append(work(made, store).units)
        with real(self, key) as ours:
            yield ours

    monkeypatch.setattr(Claims, "claim", late)
    outer = work(made, store)
    assert inner[1] == 9
    assert outer.cells == 3


def test_a_full_disk_stops_the_worker(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(tmp_path)
    real = Store.put

    def full(self: Store, run: object, *args: object, **options: object) -> object:
        if len(list(self.root.glob("*.zip"))) > 3:
            raise StoreError("no space left on device")
        return real(self, run, *args, **options)

    monkeypatch.setattr(Store, "put", full)
    with pytest.raises(StoreError, match="no space left"):
        work(made, store)
    monkeypatch.undo()
    assert "failed" not in states(made, store)
    assert work(made, store).cells == 3


INTERRUPTED = """\
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from rope_eval.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_gives_the_claims_back(tmp_path: Path, store: Store, number: int) -> None:
    many = PLAN.replace("docs: 3", "docs: 40").replace("[32, 64]", "[32, 512]")
    plan(tmp_path, many)
    worker = subprocess.Popen(
        [
            *(sys.executable, "-c", INTERRUPTED, "run", str(tmp_path / "plan.yaml")),
            *("--results", str(store.root)),
        ],
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        while not list((store.root / "documents").glob("*.zip")):
            assert worker.poll() is None
        worker.send_signal(number)
        assert worker.wait() == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    finally:
        worker.kill()
        worker.communicate()
    assert Claims(store.root).held() == []


def test_commands_say_what_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], store: Store
) -> None:
    made = plan(tmp_path, PLAN + f"results: {store.root}\n")
    words = [str(made.file)]
    assert main(["run", *words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "3 cells: 3 to do; 0 of 9 units stored, 576 tokens to score" in said
    assert "192 tokens to score, 239 MFLOP, " in said
    assert "scoring left" not in said  # nothing to go by
    assert not store.root.exists()
    assert main(["run", *words, "--shard", "2/3"]) == 0
    assert "3 of 3 cells done, 0 failed; computed 9 units here" in capsys.readouterr().out
    assert main(["run", *words]) == 0
    assert "0 failed; all from the store, models loaded: 0; " in capsys.readouterr().out
    assert main(["status", *words]) == 0
    said = capsys.readouterr().out
    assert "3 cells: 3 done; 9 of 9 units stored, 0 tokens to score" in said
    assert "scoring left" not in said  # nothing is
    assert max(map(len, said.splitlines())) <= 80
    assert main(["run", *words, "--shard", "4/3"]) == 2


def test_one_reason_of_many_cells_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], store: Store
) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        "models: [lab/pretrained]\nsettings: [{}, {rope_theta: 500}, {rope_theta: 600}]\n"
        "measurements:\n  - perplexity: {books: /nowhere, lengths: [64]}\n"
    )
    assert main(["run", str(file), "--results", str(store.root)]) == 1
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "failed: " in line]
    assert "perplexity of /nowhere to 64 (and 2 more): no books at '/nowhere'" in said


def test_what_cannot_be_done_is_said_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], store: Store
) -> None:
    text = PLAN.replace("settings: [", "strict: true\nsettings: [{yarn_factor: 4}, ")
    text = text.replace("{}", "{dynamic_ntk: per_query, reference_length: 500}")
    made = plan(tmp_path, text)
    found = list(survey.survey(made, store))
    assert [one.state for one in found][1] == "cannot"
    assert "dynamic_ntk" in found[1].why and "64 tokens" in found[1].why
    assert main(["run", str(made.file), "--dry-run", "--results", str(store.root)]) == 1
    assert "cannot" in capsys.readouterr().out
