"""``rope-eval lab train``: make the embedded checkpoints again from a seed."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.errors import SpecError, StoreError, did_you_mean

if TYPE_CHECKING:
    from rope_eval.lab import Recipe

EXAMPLE = """\
example:
  rope-eval lab train --output lab
  rope-eval lab train --output lab --only base-1e5 --force
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``lab`` and its subcommand ``train``."""
    lab = subparsers.add_parser("lab", help="the embedded checkpoints")
    train = lab.add_subparsers(dest="lab_command", required=True).add_parser(
        "train",
        help="make the embedded checkpoints again from a seed",
        description="Train the five tiny models on the standard library's sources and write each\n"
        "to OUTPUT/NAME: about a quarter of an hour on two free cores.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_argument(
        "--output", type=Path, default=Path("lab"), help="folder to write to (default: lab)"
    )
    train.add_argument("--seed", type=int, default=0, help="seed of everything (default: 0)")
    train.add_argument("--steps", type=int, help="optimiser steps of each, instead of its own")
    train.add_argument(
        "--only", nargs="+", metavar="NAME", help="checkpoints to make (default: all five)"
    )
    train.add_argument("--force", action="store_true", help="replace checkpoints that are there")
    train.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train and write the checkpoints that were asked for.

    Raises:
        SpecError: An option makes no sense, or a checkpoint is there already without ``--force``.
        DataError: No training text, or no pre-trained checkpoint to tune.
        StoreError: The output folder cannot be made.
    """
    recipes = _chosen(args.only, args.seed, args.steps)
    _check_output(args.output, recipes, force=args.force)

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from rope_eval.lab import make_checkpoint, training_text

    console = Console(stderr=True)
    text = training_text()
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"Cannot make the folder {args.output}: {error.strerror}.") from error
    console.print(f"{text.files} files, {len(text.tokens):,} tokens; {len(text.held_out)} held out")
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        for recipe in recipes:
            task = progress.add_task(recipe.name, total=recipe.steps)

            def on_step(
                step: int, loss: float, *, name: str = recipe.name, task: Any = task
            ) -> None:
                progress.update(task, completed=step, description=f"{name} {loss:.3f} nats")

            make_checkpoint(recipe, text, args.output, on_step=on_step)
    console.print(f"Wrote {', '.join(recipe.name for recipe in recipes)} to {args.output}")
    return 0


def _chosen(names: list[str] | None, seed: int, steps: int | None) -> list[Recipe]:
    """Return the recipes of these names, with seed and steps set, in the lab's order."""
    from rope_eval.lab import RECIPES

    known = [recipe.name for recipe in RECIPES]
    for name in names or ():
        if name not in known:
            raise SpecError(
                f"The lab has no checkpoint {name!r}; it has {', '.join(known)}."
                + did_you_mean(name, known)
            )
    if steps is not None and steps < 1:
        raise SpecError(f"--steps must be at least 1, got {steps}.")
    if not 0 <= seed < 1 << 63:
        raise SpecError(f"--seed must be from 0 to 2**63 - 1, got {seed}.")
    return [
        replace(recipe, seed=seed, steps=steps or recipe.steps)
        for recipe in RECIPES
        if names is None or recipe.name in names
    ]


def _check_output(output: Path, recipes: list[Recipe], *, force: bool) -> None:
    """Refuse, before any work, what could not be written or started from."""
    there = [recipe.name for recipe in recipes if (output / recipe.name).exists()]
    if there and not force:
        raise SpecError(
            f"{output} already holds {', '.join(there)}: nothing was written. Choose another "
            "--output, name with --only what is missing, or replace them with --force."
        )
    made = {recipe.name for recipe in recipes}
    for recipe in recipes:
        source = recipe.start_from
        if source is not None and source not in made and not (output / source).exists():
            raise SpecError(
                f"{recipe.name} is tuned from {source}, and {output} does not hold it. "
                f"Add {source} to --only, or give the --output that has it."
            )
