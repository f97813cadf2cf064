"""What a worker hands to the measurement of a cell, and what it is told of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rope_eval.plans.claiming import Claiming
from rope_eval.plans.models import LoadedModel
from rope_eval.results.store import Store

RunState = Literal["done", "partly failed", "failed", "open"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """A worker's.

    Attributes:
        store: where runs and documents are kept.
        model: the model that is loaded.
        claims: on units.
        retry: whether to try again what has failed.
        progress: told the unit at work, and the part of the cell that is done.
    """

    store: Store
    model: LoadedModel
    claims: Claiming
    retry: bool
    progress: Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What measuring a cell came to.

    Attributes:
        units: how many were computed now; none where all come from the store.
        key: of the run.
        note: which fields of the setting changed nothing in it, or empty.
    """

    units: int
    key: str
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prospect:
    """What of a cell is stored.

    Attributes:
        key: of its run, stored or not.
        state: of the run: "done", "partly failed", "failed", or "open" where there is none.
        units: the key of each.
        stored: how many of them are.
        passes: tokens of each text that is to go through the model, None where that is not known
            before.
        timed: of stored units of this machine the tokens, where they are known, and the seconds.
        why: it failed, or empty.
    """

    key: str
    state: RunState
    units: tuple[str, ...]
    stored: int
    passes: tuple[int, ...] | None
    timed: tuple[tuple[int | None, float], ...] = ()
    why: str = ""
