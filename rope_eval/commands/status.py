"""``rope-eval status``: where a plan stands, while it runs and afterwards."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rope_eval.commands.options import add_shared
from rope_eval.files import Place
from rope_eval.labels import scaled
from rope_eval.safe_text import shown
from rope_eval.terminal import say

if TYPE_CHECKING:
    from rope_eval.plans.plan import Plan
    from rope_eval.plans.survey import Standing
    from rope_eval.results.store import Store


_STATE = "  {:<13}  {:>9}  "  # and how many of its units are stored


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "status",
        help="where a plan stands: what is done, at work, failed and to do",
        description="Say of each cell of a plan what is stored, and why what failed did.",
    )
    parser.add_argument("plan", type=Path, metavar="PLAN", help="a YAML file or a name")
    add_shared(parser, "--results", help="where runs are kept (default: the plan's, results/runs)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print where the plan stands; return the exit status: 1 where something failed.

    Raises:
        RopeEvalError: for a plan that makes no sense, or a store that cannot be read.
    """
    from rope_eval.plans.plan import Plan

    plan = Plan.read(args.plan)
    return show(plan, store_of(plan, args.results))


def store_of(plan: Plan, folder: Place | None) -> Store:
    """Return the store of the command line, of the plan, or the default one."""
    from rope_eval.commands.store import open_store

    return open_store(folder or plan.results)


def show(plan: Plan, store: Store) -> int:
    """Print each cell as soon as it is known, below its model and setting, and a summary."""
    from rope_eval.plans.estimate import seconds_left
    from rope_eval.plans.survey import remaining, survey

    standings: list[Standing] = []
    for one in survey(plan, store):
        if not standings or one.cell.under != standings[-1].cell.under:
            say(shown(one.cell.under))
        for line in _lines(one):
            say(shown(line))
        standings.append(one)
    for row, why in plan.absent.items():
        say(shown(row))
        say(shown(f"{_STATE.format('cannot', '-')}{why}"))
    print()
    say(_summary(standings, len(plan.absent)))
    if (left := seconds_left(remaining(standings))) and any(left):
        seconds, unknown = left
        but = f", beside {unknown} cells of a kind that nothing is stored of" if unknown else ""
        say(f"about {_time(seconds)} of scoring left for one worker on this machine{but}")
    bad = any(one.state in ("failed", "partly failed", "cannot") for one in standings)
    return 1 if bad or plan.absent else 0


def _lines(one: Standing) -> Iterator[str]:
    """Yield what is said of a cell: where it stands, what it takes, why it failed."""
    stored = f"{one.stored} of {one.units}" if one.units else "-"
    work = f", {one.at_work} at work" if one.at_work else ""
    yield f"{_STATE.format(one.state, stored)}{one.cell.measurement}{work}"
    if cost := ", ".join(_cost(one)):
        yield f"{_STATE.format('', '')}{cost}"
    if one.why:
        yield f"{_STATE.format('', '')}{one.why}"


def _cost(one: Standing) -> Iterator[str]:
    """Say what a cell takes that is to be done."""
    if one.is_over:
        return
    if one.tokens:
        yield f"{one.tokens} tokens to score"
    if one.estimate.flops:
        yield f"{scaled(one.estimate.flops)}FLOP"
    if one.estimate.memory is not None:
        yield f"{scaled(one.estimate.memory)}B of memory"
    elif one.estimate.weights is not None and one.estimate.cache is not None:
        yield (
            f"{scaled(one.estimate.weights)}B of weights and {scaled(one.estimate.cache)}B of keys "
            f"and values of its longest text, beside what {one.cell.loading.backend} takes"
        )
    elif one.estimate.weights is not None:
        yield f"{scaled(one.estimate.weights)}B of weights, and what its texts need"


def _summary(standings: list[Standing], absent: int) -> str:
    counts = Counter(one.state for one in standings)
    stored, units = sum(one.stored for one in standings), sum(one.units for one in standings)
    tokens = sum(one.tokens or 0 for one in standings if not one.is_over)
    flops = sum(one.estimate.flops or 0 for one in standings if not one.is_over)
    memory = max((one.estimate.memory or 0 for one in standings if not one.is_over), default=0)
    takes = f" ({scaled(flops)}FLOP, at most {scaled(memory)}B of memory)" if memory else ""
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    lacking = f", and {absent} rows without a checkpoint" if absent else ""
    return (
        f"{len(standings)} cells: {states or 'none'}{lacking}; {stored} of {units} units stored, "
        f"{tokens} tokens to score{takes}"
    )


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
