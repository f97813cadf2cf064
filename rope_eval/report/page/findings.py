"""What a page is about: the runs of a store, and where the plan that made them stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from rope_eval.report.runs import lines_of
from rope_eval.report.series.source import Source
from rope_eval.results import identity
from rope_eval.results.naming import Names
from rope_eval.results.store import Entry, Run, Store
from rope_eval.results.tidy import HARNESSES
from rope_eval.rope.spec import RopeSpec
from rope_eval.setting import Setting

if TYPE_CHECKING:
    from rope_eval.plans.plan import Plan
    from rope_eval.plans.survey import Standing

_NAMED = 3  # tasks of a run


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What was found.

    Attributes:
        source: of the figures.
        runs: oldest first, failed ones too.
        names: of their rows, by key.
        lines: of their frame, with intervals, and None for what is not there.
        left_out: entries of the store that are no runs.
        plan: which was asked about, if one was.
        standings: of its cells.
    """

    source: Source
    runs: Sequence[Run]
    names: Mapping[str, str]
    lines: Sequence[Mapping[str, Any]]
    left_out: Sequence[Entry] = ()
    plan: Plan | None = None
    standings: Sequence[Standing] = field(default=())


def find(store: Store, plan: Plan | None = None, *, others: bool = False) -> Findings:
    """Read a store, of a plan its own runs.

    Args:
        store: the runs.
        plan: which is asked about.
        others: take all that the store has of the plan's models under its settings.

    Raises:
        StoreError: the store cannot be read.
    """
    standings = [] if plan is None else _survey(plan, store)
    own = _Chosen(store, None if plan is None else partial(_is_of, *_wanted(standings, others)))
    source = Source(own)
    return Findings(
        source=source,
        runs=list(own.runs()),
        names={run.key: _name(source.names, run) for run in own.runs()},
        lines=list(lines_of(source.measured)),
        left_out=own.left_out,
        plan=plan,
        standings=standings,
    )


class _Chosen(Store):
    """The same store, of which only some of the runs are seen, read once."""

    def __init__(self, store: Store, wanted: Callable[[Run], bool] | None) -> None:
        self.left_out: list[Entry] = []
        super().__init__(store.folder, on_bad=self.left_out.append)
        self._wanted = wanted
        self._runs: list[Run] | None = None

    def runs(self) -> Iterator[Run]:
        """Yield the runs that are wanted, oldest first."""
        if self._runs is None:
            self._runs = [run for run in super().runs() if not self._wanted or self._wanted(run)]
        return iter(self._runs)


def what(run: Run) -> str:
    """Return what a run measured, in a few words."""
    if run.kind in HARNESSES:
        tasks = list(run.results.get("tasks", run.request.get("tasks", ())))
        more = f" and {len(tasks) - _NAMED} more" if len(tasks) > _NAMED else ""
        return ", ".join(map(str, tasks[:_NAMED])) + more
    lengths = run.request.get("lengths")
    source = run.request.get("books") or ""
    return f"{run.kind} {source}".strip() + (f" to {lengths[-1]}" if lengths else "")


def _survey(plan: Plan, store: Store) -> list[Standing]:
    from rope_eval.plans.survey import survey

    return list(survey(plan, store))


def _wanted(
    standings: Sequence[Standing], others: bool
) -> tuple[set[str | None], set[tuple[str, str]]]:
    """Return the keys of a plan's runs, and the settings of which all runs are taken.

    Where a cell's key is not known, as on a machine without its books, its setting's runs are.
    """
    whole = {setting_key(one.cell.setting) for one in standings if others or one.key is None}
    return {one.key for one in standings}, whole


def _is_of(keys: set[str | None], settings: set[tuple[str, str]], run: Run) -> bool:
    return run.key in keys or run_setting_key(run) in settings


def setting_key(setting: Setting) -> tuple[str, str]:
    """Return what `run_setting_key` is for the runs of a setting."""
    return identity.fingerprint(setting.checkpoint), setting.rope.fingerprint()


def run_setting_key(run: Run) -> tuple[str, str] | None:
    """Return which model a run is of, and which RoPE setting; None where it has none."""
    model = run.request.get("fingerprint") or run.results.get("fingerprint")
    rope = run.request.get("rope")
    return (str(model), RopeSpec.from_dict(rope).fingerprint()) if isinstance(rope, dict) else None


def _name(names: Names, run: Run) -> str:
    try:
        return names.row(run)
    except (LookupError, TypeError, ValueError, AttributeError):  # a kind of run without a setting
        return str(run.request.get("model") or run.request.get("checkpoint") or run.kind)
