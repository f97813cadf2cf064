"""``rope-eval lab measure``: every checkpoint, under every method, at every length."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.commands.progress import progress_bar
from rope_eval.errors import DataError, SpecError, did_you_mean

if TYPE_CHECKING:
    from rope_eval.tuning.recipe import Recipe
    from studies.scaling_laws.measurements import Measurement
    from studies.scaling_laws.recipes.grids import Grid

DEFAULT_STORE = Path("results", "lab-runs")
QUICK_STORE = Path("results", "lab-quick")  # of other text: one store has one text

EXAMPLE = """\
examples:
  rope-eval lab measure --checkpoints lab               # all of the grid, 131 CPU minutes
  rope-eval lab measure --checkpoints model_configs/lab --quick

What is in the store already is not measured again: the same command goes on where it stopped, and
several may run side by side with other --only.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``measure``."""
    parser = subparsers.add_parser(
        "measure",
        help="measure the checkpoints: curves, retrieval and attention scores",
        description="Measure each checkpoint of a grid under each method of inference: perplexity\n"
        "and accuracy at every length, needles, and attention scores by distance.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--checkpoints", type=Path, default=Path("lab"), metavar="DIR", help="(default: lab)")
    add(
        "--store",
        type=Path,
        metavar="DIR",
        help="(default: results/lab-runs, with --quick results/lab-quick)",
    )
    add("--preset", default="lab", metavar="NAME", help="whose grid: lab or gpu (default: lab)")
    add("--only", nargs="+", metavar="NAME", help="checkpoints (default: all that are there)")
    add("--quick", action="store_true", help="less text, shorter, without methods: a first look")
    add("--device", help="as in PyTorch (default: CUDA where there is one)")
    add("--dry-run", action="store_true", help="print what would be measured, and stop")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure what the store lacks.

    Raises:
        SpecError: no such grid or checkpoint.
        DataError: a checkpoint is not there, or was made by another recipe.
        ScoreError: a score is not a number.
        StoreError: a run cannot be written.
    """
    from studies.scaling_laws.measurements import measurements
    from studies.scaling_laws.recipes.grids import find_grid

    grid = find_grid(args.preset)
    made = _made(args, grid)
    asked = list(measurements(replace(grid, recipes=tuple(made)), methods=not args.quick))
    if args.dry_run:
        for measurement in asked:
            print(f"{measurement.kind:14} {measurement.recipe.name:16} {measurement.method}")
        return 0
    store = args.store or (QUICK_STORE if args.quick else DEFAULT_STORE)
    _measure(asked, args, grid.text, store)
    if args.only is None:
        _say_what_is_not(args, grid, {recipe.name for recipe in made})
    print(f"{len(asked)} measurements are in {store}")
    return 0


def _made(args: argparse.Namespace, grid: Grid) -> list[Recipe]:
    """Return the recipes that the checkpoints to measure were made by: those named, or all."""
    from studies.scaling_laws.recipes.checkpoints import recipe_of

    recipes = {recipe.name: recipe for recipe in grid.recipes}
    for name in args.only or ():
        if name not in recipes:
            raise SpecError(
                f"the grid {args.preset} has no checkpoint {name!r}; it has "
                f"{', '.join(recipes)}.{did_you_mean(name, recipes)}"
            )
    names = [
        name
        for name in recipes
        if (name in args.only if args.only else (args.checkpoints / name).is_dir())
    ]
    if not names:
        raise DataError(
            f"{args.checkpoints} holds no checkpoint of the grid {args.preset}: make them with "
            "`rope-eval lab train`, or give --checkpoints"
        )
    made = [recipe_of(args.checkpoints / name) for name in names]
    for name, recipe in zip(names, made, strict=True):
        same = recipe.rope == recipes[name].rope if args.quick else recipe == recipes[name]
        if recipe.name != name or not same:
            raise DataError(
                f"{args.checkpoints / name} was made by another recipe than the grid's {name}: "
                f"make it again with `rope-eval lab train --only {name} --force`, or look at it "
                "with --quick"
            )
    return made


def _say_what_is_not(args: argparse.Namespace, grid: Grid, measured: set[str]) -> None:
    absent = [recipe.name for recipe in grid.recipes if recipe.name not in measured]
    if absent:
        print(f"not there, not measured: {', '.join(absent)}", file=sys.stderr)
    there = {file.parent.name for file in args.checkpoints.glob("[!.]*/config.json")}
    other = sorted(there - measured)
    if other:
        print(
            f"not of the grid {args.preset}, not measured: {', '.join(other)}",
            file=sys.stderr,
        )


def _measure(asked: list[Measurement], args: argparse.Namespace, source: str, store: Path) -> None:
    from rope_eval.results.store import Store
    from studies.scaling_laws.measuring.evaluation import evaluation_text
    from studies.scaling_laws.measuring.measurer import Measurer
    from studies.scaling_laws.measuring.probe import held_out_text
    from studies.scaling_laws.measuring.protocol import PROTOCOLS, QUICK
    from studies.scaling_laws.recipes.text import held_out_files, text_root

    protocol = QUICK[args.preset] if args.quick else PROTOCOLS[args.preset]
    root = text_root(source)
    measurer = Measurer(
        args.preset,
        args.checkpoints,
        evaluation_text(held_out_files(root), pieces=protocol.pieces, tokens=protocol.tokens),
        held_out_text(root),
        Store(store),
        protocol,
        device=args.device,
    )
    with progress_bar("measurements", len(asked)) as report:
        for done, measurement in enumerate(asked):
            report(f"{measurement.recipe.name}, {measurement.method}", done)
            measurer.measure(measurement)
