"""A plan that is killed goes on where it was: real processes, real SIGKILL, some inside a write."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
KILLS = 10


def test_kills_lose_double_and_change_nothing() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / "plan_kills.py")),
            *("--kills", str(KILLS)),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["kills"] >= KILLS
    assert figures["in_a_write"] >= KILLS // 5
    assert figures["plans"] >= 1
    assert (figures["lost"], figures["doubled"], figures["different"]) == (0, 0, 0)
    assert figures["most_work_lost"] <= 1
