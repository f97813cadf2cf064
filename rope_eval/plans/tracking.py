"""A store that tells experiment trackers of the runs it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rope_eval.results.store import Run, Store

if TYPE_CHECKING:
    from rope_eval.hosts.lm_eval.trackers import Tracking


def told(store: Store, tracking: Sequence[Tracking]) -> Store:
    """Return a store of which trackers are told.

    Raises:
        RopeEvalError: of the kind that fits, where a tracker cannot be told.
    """
    loggers = [one.logger() for one in tracking]

    def tell(run: Run) -> None:
        for log in loggers:
            log(run)

    return store.telling(tell)
