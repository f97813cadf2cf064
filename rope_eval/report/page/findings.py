"""What a page is about: the runs of a store, and where the plan that made them stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rope_eval.files import Place
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


def find(store: Store, plan: Plan | None = None) -> Findings:
    """Read a store, of a plan only what its models under its settings have there.

    Raises:
        StoreError: the store cannot be read.
    """
    own = _Chosen(store.root, None if plan is None else _settings(plan))
    source = Source(own)
    return Findings(
        source=source,
        runs=list(own.runs()),
        names={run.key: _name(source.names, run) for run in own.runs()},
        lines=list(lines_of(source.measured)),
        left_out=own.left_out,
        plan=plan,
        standings=[] if plan is None else _survey(plan, store),
    )


class _Chosen(Store):
    """The same store, of which only the runs of some settings are seen, read once."""

    def __init__(self, root: Place, settings: set[tuple[str, str]] | None) -> None:
        self.left_out: list[Entry] = []
        super().__init__(root, on_bad=self.left_out.append)
        self._settings = settings
        self._runs: list[Run] | None = None

    def runs(self) -> Iterator[Run]:
        """Yield the runs of these settings, oldest first."""
        if self._runs is None:
            wanted = self._settings
            self._runs = [
                r for r in super().runs() if wanted is None or run_setting_key(r) in wanted
            ]
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


def _settings(plan: Plan) -> set[tuple[str, str]]:
    return {setting_key(cell.setting) for cell in plan.cells}


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
