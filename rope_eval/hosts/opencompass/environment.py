"""What a command line tells OpenCompass's processes: names in their environment."""

from __future__ import annotations

import os

from rope_eval.errors import SpecError, did_you_mean

BOOKS = "ROPE_EVAL_BOOKS"
DATA_DIR = "ROPE_EVAL_DATA_DIR"
LENGTHS = "ROPE_EVAL_LENGTHS"
RESULTS = "ROPE_EVAL_RESULTS"
TRUNCATION = "ROPE_EVAL_TRUNCATION"

PREFIX = "ROPE_EVAL_"
KNOWN = (BOOKS, DATA_DIR, LENGTHS, RESULTS, TRUNCATION)
OF_TESTS = ("ROPE_EVAL_INPUTS", "ROPE_EVAL_REAL")


def check_environment() -> None:
    """Raise `SpecError` for a name that begins as ours do and that nothing reads."""
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in (*KNOWN, *OF_TESTS):
            raise SpecError(
                f"the environment has {name}, which rope-eval does not know."
                f"{did_you_mean(name, KNOWN, likeness=0.75)} It reads {', '.join(KNOWN)}: unset it"
            )
