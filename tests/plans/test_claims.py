"""One process has a unit at a time, and what a dead one had is free at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.claims import check_one_owner, winners
from rope_eval.cli import main
from rope_eval.errors import StoreError
from rope_eval.plans.claims import FOLDER, Claims

HOLD = """
import sys, time
from pathlib import Path
from rope_eval.plans.claims import Claims
with Claims(Path(sys.argv[1])).claim("unit") as ours:
    print(ours, flush=True)
    time.sleep(60)
"""


def test_a_unit_is_one_processs(tmp_path: Path) -> None:
    check_one_owner(Claims(tmp_path), Claims(tmp_path))
    assert not list((tmp_path / FOLDER).iterdir())


def test_of_many_at_once_one_gets_it(tmp_path: Path) -> None:
    assert winners(lambda: Claims(tmp_path)) == 1


def test_a_killed_processs_unit_is_free_at_once(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with Claims(tmp_path).claim("unit") as ours:
            assert not ours
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert Claims(tmp_path).held() == []
        with Claims(tmp_path).claim("unit") as ours:
            assert ours
            assert (tmp_path / FOLDER / "unit.1").is_file()
            assert (tmp_path / FOLDER / "unit.0").is_file()  # its owner's to remove


def test_another_machines_claim_ends_with_its_lease(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    elsewhere = folder / "unit.4"
    elsewhere.write_text(json.dumps({"space": "elsewhere", "pid": 1, "born": "1"}))
    claims = Claims(tmp_path, lease=60)
    with claims.claim("unit") as ours:
        assert not ours
    old = time.time() - 61
    os.utime(elsewhere, (old, old))
    with claims.claim("unit") as ours:
        assert ours
        assert (folder / "unit.5").is_file()


def test_a_process_number_used_again_is_not_its_owner(tmp_path: Path) -> None:
    with Claims(tmp_path).claim("unit"):
        path = tmp_path / FOLDER / "unit.0"
        owner = json.loads(path.read_text())
        assert owner["pid"] == os.getpid()
        path.write_text(json.dumps(owner | {"born": "1"}))
        with Claims(tmp_path).claim("unit") as ours:
            assert ours


def test_a_claim_that_was_killed_in_its_making_is_free(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    half = tmp_path / FOLDER / "unit.0"
    half.touch()
    with Claims(tmp_path).claim("unit") as ours:
        assert not ours
    old = time.time() - 10
    os.utime(half, (old, old))
    with Claims(tmp_path).claim("unit") as ours:
        assert ours


def test_work_keeps_a_claim_alive(tmp_path: Path) -> None:
    claims = Claims(tmp_path, lease=0.6)
    with claims.claim("unit"):
        time.sleep(1.0)
        with claims.claim("unit") as ours:
            assert not ours


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("")
    with pytest.raises(StoreError, match="run the plan again"), Claims(tmp_path).claim("unit"):
        pass


def test_sweeping_leaves_the_living(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claims, folder = Claims(tmp_path), tmp_path / FOLDER
    assert claims.sweep() == ([], [])
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "True\n"
        with claims.claim("mine") as ours:
            assert ours
            living = [folder / "mine.0", folder / "unit.0"]
            assert claims.sweep() == ([], living)
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            silent = folder / "silent.3"
            silent.write_text(json.dumps({"space": "another machine", "pid": 1, "born": "1"}))
            os.utime(silent, (0, 0))
            probe = folder / ".0123"
            probe.touch()
            os.utime(probe, (0, 0))
            dead = [probe, silent, folder / "unit.0"]
            assert claims.sweep(dry_run=True) == (dead, living[:1])
            assert all(path.exists() for path in dead)
            words = ["store", "sweep", "--results", str(tmp_path)]
            assert main([*words, "--dry-run", "--json"]) == 0
            said = json.loads(capsys.readouterr().out)
            assert said["removed"] == list(map(str, dead))
            assert said["kept"] == [str(living[0])]
            assert main(words) == 0
            said = capsys.readouterr().out
            assert f"{silent}: removed" in said
            assert f"{living[0]}: kept, a plan's process is at this unit" in said
            assert list(folder.iterdir()) == living[:1]
