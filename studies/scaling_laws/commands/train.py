"""``rope-eval lab train``: make the grid's checkpoints from a seed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.commands.options import Positive, Seed
from rope_eval.commands.progress import progress_bar, steps
from rope_eval.errors import DataError, SpecError, did_you_mean
from rope_eval.terminal import remark

if TYPE_CHECKING:
    from rope_eval.tuning.recipe import Recipe

EXAMPLE = """\
examples:
  rope-eval lab train --output lab  # 37 checkpoints, 84 CPU minutes
  rope-eval lab train --output lab --only pretrained base-1e5

Checkpoints that are there by the same recipe are left alone, and what was interrupted goes on
where it was: the same command again finishes the work. Presets: lab, and gpu, the same at a larger
scale. To tune a model of your own: rope-eval tune.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``train``."""
    parser = subparsers.add_parser(
        "train",
        help="make the checkpoints from a seed",
        description="Train the grid's small models on the standard library's sources, and write\n"
        "each to OUTPUT/NAME.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--preset", default="lab", metavar="NAME", help="whose grid: lab or gpu (default: lab)")
    add("--output", type=Path, default=Path("lab"), help="folder to write to (default: lab)")
    add("--only", nargs="+", metavar="NAME", help="checkpoints of the grid (default: all)")
    add("--seed", action=Seed, help="added to the seeds of the grid (default: 0)")
    add("--steps", action=Positive, help="optimiser steps of each, instead of its own")
    add("--force", action="store_true", help="replace checkpoints that are there")
    add("--dry-run", action="store_true", help="print what would be done, as YAML, and stop")
    add("--base-model", help=argparse.SUPPRESS)  # what `rope-eval tune` does now
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train and write the checkpoints that were asked for.

    Raises:
        SpecError: an option makes no sense, or another checkpoint is there without ``--force``.
        DataError: no text to train on.
        StoreError: the output folder cannot be made.
    """
    if args.base_model is not None or args.preset.startswith("paper-"):
        raise SpecError("a model of your own is tuned by `rope-eval tune`; this trains the grid")
    from studies.scaling_laws.recipes.grids import find_grid

    grid = find_grid(args.preset)
    recipes = _chosen(grid.recipes, args)
    if args.dry_run:
        from studies.scaling_laws.recipes.plan import grid_plan

        print(grid_plan(recipes, grid), end="")
        return 0
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SpecError(
            f"the models of the grid {args.preset} train on one device each: start a process a "
            "device with other --only, and no launcher"
        )
    missing = _missing(args.output, recipes, force=args.force)

    from rope_eval.tuning.checkpoint import make_folder
    from studies.scaling_laws.recipes.checkpoints import make_checkpoint
    from studies.scaling_laws.recipes.text import text_root, training_text

    make_folder(args.output)
    text = training_text(text_root(grid.text))
    remark(f"{text.files} files, {len(text.tokens):,} tokens; {len(text.held_out)} held out")
    with progress_bar("all steps", sum(recipe.steps for recipe in missing)) as report:
        before = 0
        for recipe in missing:
            on_step = steps(report, recipe.name, before)
            make_checkpoint(recipe, grid, text, args.output, on_step=on_step)
            before += recipe.steps
    there = [recipe.name for recipe in recipes if recipe not in missing]
    if there:
        remark(f"Left alone in {args.output}, made by the same recipes: {', '.join(there)}")
    if missing:
        remark(f"Wrote {', '.join(recipe.name for recipe in missing)} to {args.output}")
    return 0


def _chosen(recipes: Sequence[Recipe], args: argparse.Namespace) -> list[Recipe]:
    """Return the recipes of these names, with seed and steps set, in the grid's order."""
    known = [recipe.name for recipe in recipes]
    for name in args.only or ():
        if name not in known:
            raise SpecError(
                f"The lab has no checkpoint {name!r}; it has {', '.join(known)}."
                + did_you_mean(name, known)
            )
    return [
        replace(
            recipe,
            seed=recipe.seed + (args.seed or 0),
            steps=args.steps or recipe.steps,
        )
        for recipe in recipes
        if args.only is None or recipe.name in args.only
    ]


def _missing(output: Path, recipes: list[Recipe], *, force: bool) -> list[Recipe]:
    """Return what is to be made; refuse, before any work, what could not be started or kept."""
    there = [] if force else [recipe for recipe in recipes if (output / recipe.name).exists()]
    other = [recipe.name for recipe in there if not _is_made(recipe, output)]
    if other:
        raise SpecError(
            f"{output} already holds {', '.join(other)}, made by another recipe or from other "
            "weights: nothing was written. Choose another --output, or replace with --force."
        )
    missing = [recipe for recipe in recipes if recipe not in there]
    made = {recipe.name for recipe in recipes}
    for recipe in missing:
        source = recipe.start_from
        if source is not None and source not in made and not (output / source).exists():
            raise SpecError(
                f"{recipe.name} is tuned from {source}, and {output} does not hold it. "
                f"Add {source} to --only, or give the --output that has it."
            )
    return missing


def _is_made(recipe: Recipe, output: Path) -> bool:
    """Tell whether a checkpoint was made by this recipe, from what it starts from now."""
    from studies.scaling_laws.recipes.checkpoints import recipe_of, starts_from

    try:
        same = recipe_of(output / recipe.name) == recipe
    except DataError:
        return False
    start = None if recipe.start_from is None else output / recipe.start_from
    return same and (
        start is None or not start.exists() or starts_from(output / recipe.name, start)
    )
