"""What Ray starts on a machine of its cluster, and what that is told.

Ray starts a worker anew that was lost: with its machine, or because memory ran out. A cell at which
several were lost has failed, or it would take every worker down, again and again.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import rope_eval
from rope_eval.errors import DataError, ScoreError, StoreError
from rope_eval.files import Place
from rope_eval.plans.cell import Cell
from rope_eval.plans.plan import Plan
from rope_eval.plans.tracking import told
from rope_eval.plans.worker import Done, Shard, work
from rope_eval.results.store import Store

if TYPE_CHECKING:
    from rope_eval.hosts.lm_eval.trackers import Tracking

TELL_SECONDS = 1.0
ANSWER_SECONDS = 10.0
MOST_LOST = 3  # workers at one cell: more than a machine or two that were taken away


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What a worker is told."""

    plan: Plan
    results: Place
    retry: bool
    folder: Path
    command: list[str]
    version: str
    witness: str | None
    paths: frozenset[str]
    tracking: tuple[Tracking, ...]


class Board:
    """What workers say, on the cluster: the last of it, and at which cell each of them is."""

    def __init__(self) -> None:
        self.what, self.part = "", 0.0
        self.at: dict[str, tuple[str, str]] = {}
        self.lost: Counter[str] = Counter()

    def begin(self, shard: str, life: str, cell: str) -> int:
        """Take that a worker begins a cell, and return how many were lost at it.

        Args:
            shard: of the worker, the same when it is started anew.
            life: another each time that it is started.
            cell: that it begins, or nothing where it has come to its end.
        """
        before, was_at = self.at.get(shard, (life, ""))
        if was_at and before != life:
            self.lost[was_at] += 1
        self.at[shard] = life, cell
        return self.lost[cell] if cell else 0

    def tell(self, what: str, part: float) -> None:
        """Take what a worker is at; of the parts of the plan the largest is right."""
        self.what, self.part = what, max(part, self.part)

    def read(self) -> tuple[str, float]:
        """Return what was said last, and the part of the plan that is done."""
        return self.what, self.part


def work_here(order: Order, shard: str, board: Any) -> Done:
    """Work on a machine of the cluster, as the command does that was given."""
    check_machine(order)
    sys.argv = order.command  # what the records name
    last, life = 0.0, uuid4().hex

    def begin(cell: Cell) -> None:
        lost = _answer(board.begin.remote(shard, life, str(cell)))
        if lost >= MOST_LOST:
            board.begin.remote(shard, life, "")
            raise ScoreError(
                f"{lost} workers were lost while they were at it, as when memory runs out: give "
                "them more of it, or shorter texts, and run it again with --retry-failed"
            )

    def tell(cell: Cell, unit: str, part: float) -> None:
        nonlocal last
        if time.monotonic() - last >= TELL_SECONDS:
            last = time.monotonic()
            board.tell.remote(f"{cell}: {unit}", part)

    done = work(
        order.plan,
        told(Store(order.results), order.tracking),
        retry=order.retry,
        shard=Shard.parse(shard),
        progress=tell,
        begin=begin,
    )
    board.begin.remote(shard, life, "")
    return done


def _answer(asked: Any) -> int:
    """Return what the board answers; nothing was lost as far as one knows that is lost itself."""
    import ray

    try:
        answer: int = ray.get(asked, timeout=ANSWER_SECONDS)
    except ray.exceptions.RayError:
        return 0
    return answer


def check_machine(order: Order) -> None:
    """Refuse a machine that would make failures of what the others can do."""
    machine = os.uname().nodename
    if rope_eval.__version__ != order.version:
        raise DataError(
            f"rope-eval is {rope_eval.__version__} on {machine}, and {order.version} where the "
            "command was given: install the same everywhere"
        )
    if order.folder.is_dir():
        os.chdir(order.folder)
    if order.witness is not None and not Path(order.results, order.witness).exists():
        raise StoreError(
            f"{machine} does not see {order.results}: give a folder that all machines share, or a "
            "URL such as s3://bucket/runs, as --store"
        )
    for path in sorted(order.paths):
        if not Path(path).exists():
            raise DataError(
                f"{machine} has no {path}: put it where all machines find it, or take what has a "
                "name on the hub"
            )
