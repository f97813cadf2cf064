"""Where a plan stands: what is stored, at work, failed and to do, without scoring anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from rope_eval.errors import RopeEvalError, SpecError, UnsupportedModelError
from rope_eval.plans.cell import Cell
from rope_eval.plans.configs import Configs
from rope_eval.plans.estimate import Estimate, Remaining, estimate_of
from rope_eval.plans.failures import Failures, reason
from rope_eval.plans.plan import Plan
from rope_eval.plans.remote_claims import claims_of
from rope_eval.results.store import Store

State = Literal["done", "partly failed", "failed", "partly done", "to do", "cannot"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where a cell stands.

    Attributes:
        cell: the cell.
        state: "cannot" where it is known to fail before it is tried.
        units: how many it has; 0 where that is not known.
        stored: how many of them are.
        at_work: how many of them live processes are at.
        tokens: to be scored; None where that is not known before.
        estimate: what they cost.
        why: it failed, or cannot be done.
        key: of its run, stored or not; None where that is not known.
    """

    cell: Cell
    state: State
    units: int = 0
    stored: int = 0
    at_work: int = 0
    tokens: int | None = 0
    estimate: Estimate = field(default_factory=Estimate)
    why: str = ""
    key: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether a worker without ``--retry-failed`` leaves it."""
        return self.state in ("done", "partly failed", "failed")


def survey(plan: Plan, store: Store) -> Iterator[Standing]:
    """Yield where each cell of a plan stands, in the plan's order.

    Raises:
        StoreError: where the store cannot be read.
    """
    failures, held, configs = Failures(store), set(claims_of(store).held()), Configs()
    for cell in plan.cells:
        yield _standing(cell, store, failures, held, configs)


def remaining(standings: Iterable[Standing]) -> list[Remaining]:
    """Return what is left of each cell, as `rope_eval.plans.estimate.seconds_left` takes it."""
    return [
        Remaining(
            kind=type(one.cell.measurement),
            units=0 if one.is_over or one.state == "cannot" else one.units - one.stored,
            estimate=one.estimate,
        )
        for one in standings
    ]


def _standing(
    cell: Cell, store: Store, failures: Failures, held: set[str], configs: Configs
) -> Standing:
    failed = failures.read(cell)
    try:
        cell.measurement.check()
        found = cell.measurement.prospect(cell, store)
    except RopeEvalError as error:
        state: State = "failed" if failed else "cannot"
        return Standing(cell=cell, state=state, why=failed or reason(error))
    if found.state != "open":
        state, why = found.state, found.why
    elif failed:
        state, why = "failed", failed
    else:
        why = _refusal(cell, configs)
        state = "cannot" if why else "partly done" if found.stored else "to do"
    try:
        estimate = estimate_of(cell, found, configs)
    except SpecError as error:
        estimate = Estimate()
        if state in ("to do", "partly done"):
            state, why = "cannot", reason(error)
    return Standing(
        cell=cell,
        state=state,
        units=len(found.units),
        stored=found.stored,
        at_work=len(held.intersection(found.units)),
        tokens=None if found.passes is None else sum(found.passes),
        estimate=estimate,
        why=why,
        key=found.key,
    )


def _refusal(cell: Cell, configs: Configs) -> str:
    """Return why a setting cannot be put on a model, as far as its config tells, or nothing."""
    from rope_eval.backends.vllm.geometry import config_geometry
    from rope_eval.rope.reach import without_effect
    from rope_eval.rope.rotary import Rotary

    try:
        rotary = Rotary(cell.setting.rope, config_geometry(configs.of(cell)))
        longest = cell.measurement.longest
        stated = cell.setting.stated
        line = without_effect(rotary.effective_from, longest, stated=stated) if longest else ""
        if cell.strict and line:
            raise SpecError(line)
    except UnsupportedModelError as error:
        # what any other model does with positions is learnt when it is loaded
        return reason(error) if cell.loading.backend == "vllm" else ""
    except RopeEvalError as error:
        return reason(error)
    return ""
