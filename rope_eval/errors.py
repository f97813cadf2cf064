"""The one tree of errors that a user can meet.

::

    RopeEvalError
    ├── SpecError               a RoPE setting, or a length, that makes no sense
    ├── UnsupportedModelError   a model this mechanism cannot be applied to
    ├── LengthError             a document or a model too short for what was asked
    ├── DataError               books, tasks or weights that cannot be read
    ├── ScoreError              a score that is not a number: the run has failed
    ├── StoreError              a result that cannot be written or read back
    └── ProcessError            of several processes one has ended, and its work with it
        └── OtherProcessError   the same, and it has said why: nothing more is to be said

Every message says what was wrong, what was got, and what to do. The command line turns bad input
into exit status 2 and failed work (`exit_code` 1) into 1, without a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RopeEvalError(Exception):
    """Base of everything this package raises for its users."""

    exit_code = 2


class SpecError(RopeEvalError, ValueError):
    """A RoPE setting, a length or an option that makes no sense."""


class UnsupportedModelError(RopeEvalError):
    """A model whose position embedding this mechanism cannot replace."""


class LengthError(RopeEvalError, ValueError):
    """A document, or a model, too short for the lengths that were asked."""


class DataError(RopeEvalError):
    """Books, tasks or weights that cannot be read."""


class ScoreError(RopeEvalError):
    """A score that is NaN or infinite: the run has failed and has no number."""

    exit_code = 1


class StoreError(RopeEvalError):
    """A stored result that cannot be written or read back."""

    exit_code = 1


class ProcessError(RopeEvalError):
    """One of several processes that work together has ended."""

    exit_code = 1


class OtherProcessError(ProcessError):
    """Another process has failed and has said why: this one ends, and is silent.

    Args:
        exit_code: that of the other.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__("another process has failed")
        self.exit_code = exit_code


SURELY = 0.75  # of difflib's ratio: `length` for `lengths` has 0.92, `use_safetensors` at most 0.55


def did_you_mean(word: str, known: Iterable[str], *, likeness: float = 0.5) -> str:
    """Return `` Did you mean 'x'?`` for the nearest of the known words, or an empty string.

    >>> did_you_mean("rope_teta", ["rope_theta", "xpos"])
    " Did you mean 'rope_theta'?"
    >>> did_you_mean("zzz", ["rope_theta"])
    ''
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=likeness)
    return f" Did you mean {near[0]!r}?" if near else ""
