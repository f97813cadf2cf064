"""Large blocks go back to the system when they are freed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

WORK = """
import sys, torch
from pathlib import Path
from rope_eval.scoring.giving_back import give_back_large

def held():
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return next(int(line[1]) for line in lines if line[0] == "RssAnon:") >> 10

torch.ones(30 << 18)  # 30 MiB: from here on glibc keeps smaller blocks
if sys.argv[1] == "given":
    assert give_back_large()
before = held()
blocks = [torch.ones(6 << 18) for _ in range(20)]
last = torch.ones(1 << 18)  # of 1 MiB, above them
del blocks
print(held() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another library of C")
def test_what_is_freed_is_not_kept() -> None:
    kept = {}
    for how in ("given", "as it comes"):
        done = subprocess.run(
            [sys.executable, "-c", WORK, how], check=True, capture_output=True, text=True
        )
        kept[how] = int(done.stdout)
    assert kept["given"] < 10
    assert kept["as it comes"] > 100
