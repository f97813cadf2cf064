"""``rope-eval lab train``: make the lab's checkpoints from a seed, or tune a model of one's own."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.commands.progress import progress_bar, say, steps
from rope_eval.commands.tune import run_tuning
from rope_eval.errors import DataError, SpecError, did_you_mean

if TYPE_CHECKING:
    from rope_eval.tuning.recipes import Recipe

EXAMPLE = """\
examples:
  rope-eval lab train --output lab                      # the grid: 37 checkpoints, 84 CPU minutes
  rope-eval lab train --output lab --only pretrained base-1e5
  rope-eval lab train --preset paper-7b --rope-theta 1e6 --dry-run
  rope-eval lab train --base-model DIR --rope-theta 500 --tune-length 16k --text pile.jsonl.zst
  accelerate launch --config_file FILE -m rope_eval lab train --preset paper-7b-16k \\
      --base-model DIR --rope-theta 500 --text pile.jsonl.zst

Checkpoints that are there by the same recipe are left alone, and what was interrupted goes on
where it was: the same command again finishes the work. Presets: lab, gpu (the same at a larger
scale), and paper-7b, paper-13b, each also with -16k and -pi (arXiv 2310.05209, B.1).
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``train``."""
    parser = subparsers.add_parser(
        "train",
        help="make the checkpoints from a seed, or tune a model under another RoPE setting",
        description="Train the lab's small models on the standard library's sources, or tune any\n"
        "Hugging Face model as the paper does, and write each to OUTPUT/NAME.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--preset", metavar="NAME", help="what to make (default: lab; with --base-model paper-7b)")
    add("--output", type=Path, default=Path("lab"), help="folder to write to (default: lab)")
    add("--only", nargs="+", metavar="NAME", help="checkpoints of the grid (default: all)")
    add("--seed", type=int, help="seed of everything; added to those of a grid (default: 0)")
    add("--steps", type=int, help="optimiser steps of each, instead of its own")
    add("--force", action="store_true", help="replace checkpoints that are there")
    add("--dry-run", action="store_true", help="print what would be done, as YAML, and stop")
    own = parser.add_argument_group("tuning a model of your own")
    add = own.add_argument
    add("--base-model", metavar="DIR", help="a model directory, or a name on the hub")
    add("--text", metavar="SRC", help="a folder of .txt, a .txt or .jsonl[.gz|.zst] file, …")
    add("--rope-theta", type=float, metavar="β", help="the base to tune with")
    add("--tune-length", metavar="T", help="tokens of a window, such as 16k")
    add("--rope", default="", metavar="SPEC", help="more RopeSpec fields, as linear_factor=2")
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="windows a step (default: 524,288 tokens' worth, as in B.1)",
    )
    add("--learning-rate", type=float, metavar="LR", help="constant (default: 2e-5)")
    add("--accumulation", type=int, metavar="N", help="passes a step (default: 1)")
    add("--gradient-checkpointing", action="store_true", help="less memory, more time")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train and write the checkpoints that were asked for.

    Raises:
        SpecError: An option makes no sense, or another checkpoint is there without ``--force``.
        DataError: No text to train on, or no checkpoint to tune.
        LengthError: The text is too short.
        StoreError: The output folder cannot be made.
    """
    from rope_eval.tuning.recipes import PAPER
    from studies.scaling_laws.grids import GRIDS

    for option in ("steps", "batch_size", "accumulation"):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise SpecError(f"--{option.replace('_', '-')} must be at least 1, got {value}.")
    rate = args.learning_rate
    if rate is not None and not 0 < rate < math.inf:
        raise SpecError(f"--learning-rate must be a number above 0, got {rate}.")
    if args.seed is not None and not 0 <= args.seed < 1 << 63:
        raise SpecError(f"--seed must be from 0 to 2**63 - 1, got {args.seed}.")
    preset = args.preset or ("paper-7b" if args.base_model else "lab")
    if preset in GRIDS:
        return _run_grid(preset, args)
    if preset in PAPER:
        return run_tuning(preset, args)
    known = [*GRIDS, *PAPER]
    raise SpecError(
        f"there is no preset {preset!r}; there are {', '.join(known)}.{did_you_mean(preset, known)}"
    )


def _run_grid(preset: str, args: argparse.Namespace) -> int:
    for option in (
        *("base_model", "text", "rope_theta", "tune_length", "rope"),
        *("learning_rate", "batch_size", "accumulation", "gradient_checkpointing"),
    ):
        if getattr(args, option):
            raise SpecError(
                f"--{option.replace('_', '-')} is for tuning a model of your own, and the preset "
                f"{preset} has recipes: leave it out, or give --base-model and a paper's preset"
            )
    from studies.scaling_laws.grids import GRIDS

    grid = GRIDS[preset]
    recipes = _chosen(grid.recipes, args)
    if args.dry_run:
        from studies.scaling_laws.grid_plan import grid_plan

        print(grid_plan(recipes, grid), end="")
        return 0
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SpecError(
            f"the models of the grid {preset} train on one device each: start a process a device "
            "with other --only, and no launcher"
        )
    missing = _missing(args.output, recipes, force=args.force)

    from rope_eval.tuning.folders import make_folder
    from studies.scaling_laws.checkpoints import make_checkpoint
    from studies.scaling_laws.text import text_root, training_text

    make_folder(args.output)
    text = training_text(text_root(grid.text))
    say(f"{text.files} files, {len(text.tokens):,} tokens; {len(text.held_out)} held out")
    with progress_bar("all steps", sum(recipe.steps for recipe in missing)) as report:
        before = 0
        for recipe in missing:
            on_step = steps(report, recipe.name, before)
            make_checkpoint(recipe, grid, text, args.output, on_step=on_step)
            before += recipe.steps
    there = [recipe.name for recipe in recipes if recipe not in missing]
    if there:
        say(f"Left alone in {args.output}, made by the same recipes: {', '.join(there)}")
    if missing:
        say(f"Wrote {', '.join(recipe.name for recipe in missing)} to {args.output}")
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
    from studies.scaling_laws.checkpoints import recipe_of, starts_from

    try:
        same = recipe_of(output / recipe.name) == recipe
    except DataError:
        return False
    start = None if recipe.start_from is None else output / recipe.start_from
    return same and (
        start is None or not start.exists() or starts_from(output / recipe.name, start)
    )
