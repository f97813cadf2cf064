"""``rope-eval run``: everything that a plan asks for, once, and on from wherever it stopped."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rope_eval.commands.options import Positive, add_shared
from rope_eval.commands.progress import Pace, progress_bar, progress_lines
from rope_eval.terminal import remark

if TYPE_CHECKING:
    from rope_eval.hosts.lm_eval.trackers import Kind, Tracking
    from rope_eval.plans.cell import Cell
    from rope_eval.plans.on_ray import Fleet

TRACKERS: tuple[Kind, ...] = ("trackio", "wandb")
EPILOG = """\
examples:
  rope-eval run plan.yaml --dry-run    # what will run, is stored, or cannot
  rope-eval run plan.yaml              # after any stop again: it goes on there
  rope-eval run plan.yaml --shard 2/8  # the second of 8 processes, on one store
  rope-eval run plan.yaml --ray        # on the Ray cluster of this machine
  rope-eval run plan.yaml --store s3://bucket/runs
  rope-eval status plan.yaml
  rope-eval run embedded               # it ships: two minutes on a CPU
  rope-eval list plans                 # the plans that ship

A plan:
  models: [lab/pretrained, path/to/model]
  settings:
    - {}
    - grid: {rope_theta: [500, 1000000], log_scale: [false, true]}
  measurements:
    - perplexity: {books: builtin-chapters, lengths: [64, 256], docs: 5}
    - retrieval: {lengths: [512], depths: [0, 0.5], samples: 10}
    - lm_eval: {tasks: [arc_easy], limit: 100}

What fails is stored with its reason, and the rest goes on; the exit status is then 1.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="a plan: models x settings x measurements, each once",
        description="Measure everything that a plan asks for and that is not stored yet.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("plan", type=Path, metavar="PLAN", help="a YAML file, or the name of a plan that ships")
    add("--dry-run", action="store_true", help="say what would be done, and score nothing")
    add("--retry-failed", action="store_true", help="try again what has failed")
    add("--shard", default="1/1", metavar="I/N", help="begin at the I-th of N parts of the plan")
    add(
        "--ray",
        nargs="?",
        const="auto",
        metavar="ADDRESS",
        help="on a Ray cluster that is there",
    )
    add("--ray-cpus", action=Positive, default=1, metavar="N", help="of each worker (default: 1)")
    add(
        "--ray-gpus",
        type=float,
        metavar="N",
        help="of each worker (default: 1 where the cluster has some and the plan may use them)",
    )
    add("--ray-workers", action=Positive, metavar="N", help="(default: as many as fit)")
    for tracker in TRACKERS:
        add(
            f"--{tracker}",
            nargs="?",
            const="",
            metavar="ARGS",
            help=f"log each run to {tracker}; ARGS such as project=rope,group=bases",
        )
    add_shared(parser, "--results", help="where runs are kept (default: the plan's, results/runs)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do the plan, or say what it would do; return the exit status.

    Raises:
        RopeEvalError: for a plan that makes no sense, or a store that cannot be written.
    """
    from rope_eval.commands.status import show, store_of
    from rope_eval.plans.plan import Plan
    from rope_eval.plans.tracking import told
    from rope_eval.plans.worker import Shard, work
    from rope_eval.results.store import DEFAULT_ROOT

    shard = Shard.parse(args.shard)
    fleet, tracking = _fleet(args), _tracking(args)
    plan = Plan.read(args.plan)
    store = store_of(plan, args.results)
    if args.dry_run:
        return show(plan, store)
    plan.check()
    _end_on_sigterm()
    report_to = progress_bar if sys.stderr.isatty() else progress_lines
    pace = Pace()

    def progress(cell: Cell, unit: str, part: float) -> None:
        rate = pace.see(f"{cell}: {unit}")
        report(f"{rate}{', ' if rate else ''}{cell}: {unit}", part)

    with report_to(f"{len(plan.cells)} cells") as report:
        if fleet is not None:
            from rope_eval.plans.on_ray import work_on_ray

            place = args.results or plan.results or DEFAULT_ROOT
            done = work_on_ray(
                plan, place, fleet, retry=args.retry_failed, tracking=tracking, progress=report
            )
        else:
            done = work(
                plan,
                told(store, tracking),
                retry=args.retry_failed,
                shard=shard,
                progress=progress,
            )
    for row, why in plan.absent.items():
        remark(f"left out: {row}: {why}")
    for kind, words in (("note", done.notes), ("failed", done.failed)):
        for why, cells in _by_text(words).items():
            others = f" (and {len(cells) - 1} more)" if len(cells) > 1 else ""
            remark(f"{kind}: {cells[0]}{others}: {why}")
    computed = f"computed {done.units} units {'on the cluster' if fleet else 'here'}"
    print(
        f"{done.cells} of {len(plan.cells)} cells done, {len(done.failed)} failed; "
        f"{computed if done.units else 'all from the store'}, models loaded: {done.loads}; "
        f"results in {store.root}"
    )
    return 1 if done.failed or plan.absent else 0


def _fleet(args: argparse.Namespace) -> Fleet | None:
    """Return the workers on Ray that were asked for, or None."""
    from rope_eval.errors import SpecError

    if args.ray is None:
        if (args.ray_cpus, args.ray_gpus, args.ray_workers) != (1, None, None):
            raise SpecError("--ray-cpus, --ray-gpus and --ray-workers go with --ray")
        return None
    if args.shard != "1/1":
        raise SpecError("--shard is of processes that are started by hand: leave it or --ray out")
    from rope_eval.plans.on_ray import Fleet

    return Fleet(address=args.ray, cpus=args.ray_cpus, gpus=args.ray_gpus, workers=args.ray_workers)


def _tracking(args: argparse.Namespace) -> list[Tracking]:
    """Return the trackers that were asked for, each tried before the work."""
    given = {kind: options for kind in TRACKERS if (options := getattr(args, kind)) is not None}
    if not given:
        return []
    from rope_eval.hosts.lm_eval.trackers import Tracking

    tracking = [
        Tracking(kind=kind, options=options, group=args.plan.stem)
        for kind, options in given.items()
    ]
    for one in tracking:
        one.logger()
    return tracking


def _by_text(said: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the cells of which each text is said: that of a whole grid is said once."""
    cells: dict[str, list[str]] = {}
    for cell, text in said.items():
        cells.setdefault(text, []).append(cell)
    return cells


def _end_on_sigterm() -> None:
    """End as after Ctrl-C, so that claims are given back."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
