"""The first cause of an engine that did not start, of what its processes wrote."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rope_eval.backends.vllm.starting import cause, starting
from rope_eval.errors import ProcessError, UnsupportedModelError

OUTER = "Engine core initialization failed. See root cause above. Failed core proc(s): {}"
AT = "(EngineCore pid=7) ERROR 11-26 10:49:14 [core.py:866]"
WORKER = "(Worker pid=9) ERROR 11-26 10:49:14 [multiproc_executor.py:700]"
SAID = f"""\
(Worker pid=9) WARNING 11-26 10:49:13 [x.py:1] ValueError: not raised
{WORKER} WorkerProc failed to start.
{WORKER} Traceback (most recent call last):
{WORKER}   File "x.py", line 3, in load
{WORKER} KeyError: 'lm_head'
{WORKER}
{WORKER} The above exception was the direct cause of the following exception:
{WORKER} RuntimeError: cannot load
{AT} Traceback (most recent call last):
{AT} Exception: WorkerProc initialization failed. See stack trace for root cause.
"""
FAILING = (
    "raise __import__('rope_eval.errors').errors.UnsupportedModelError('two bases, one served')"
)


def test_the_first_cause() -> None:
    assert cause(SAID) == ("KeyError", "'lm_head'")
    assert cause(SAID.replace(": 'lm_head'", "")) == ("KeyError", "")
    assert cause(f"Traceback (most recent call last):\nRuntimeError: {OUTER}\n") is None
    assert cause("ValueError: not raised\n") is None
    assert cause("Traceback (most recent call last):\nhub.errors.NoError: so\n") == (
        "NoError",
        "so",
    )


@pytest.mark.parametrize(
    ("program", "kind", "words"),
    [
        (FAILING, UnsupportedModelError, "^two bases, one served$"),
        ("raise OSError('no room')", ProcessError, "of some/model did not start: OSError: no room"),
        ("pass", ProcessError, "of some/model did not start: what its processes said is above"),
    ],
)
def test_what_a_process_raised_is_raised(
    program: str, kind: type[Exception], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = os.fstat(2)
    with pytest.raises(kind, match=words), starting("some/model"):
        subprocess.run([sys.executable, "-c", program], check=False)
        raise RuntimeError(OUTER)
    assert os.path.samestat(os.fstat(2), before)
    assert ("Traceback" in capfd.readouterr().err) == (program != "pass")


def test_what_starts_or_fails_otherwise_is_left_alone() -> None:
    with starting("some/model"):
        pass
    with pytest.raises(RuntimeError, match=r"^another$"), starting("some/model"):
        raise RuntimeError("another")
