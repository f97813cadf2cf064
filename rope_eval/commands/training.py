"""What the commands that train share: checks of their options, the folder, and the bar."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rope_eval.errors import SpecError, StoreError

if TYPE_CHECKING:
    from rope_eval.tuning.recipe import Recipe


def check_numbers(args: argparse.Namespace) -> None:
    """Refuse, with a `SpecError`, steps, sizes, rates and seeds that make no sense."""
    given = {name: value for name, value in vars(args).items() if value is not None}
    for option in ("steps", "batch_size", "accumulation"):
        if given.get(option, 1) < 1:
            raise SpecError(
                f"--{option.replace('_', '-')} must be at least 1, got {given[option]}."
            )
    if not 0 < given.get("learning_rate", 1) < math.inf:
        raise SpecError(f"--learning-rate must be a number above 0, got {args.learning_rate}.")
    if not 0 <= given.get("seed", 0) < 1 << 63:
        raise SpecError(f"--seed must be from 0 to 2**63 - 1, got {args.seed}.")


def make_folder(folder: Path) -> None:
    """Make the output folder, or raise `StoreError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"Cannot make the folder {folder}: {error.strerror}.") from error


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Print a line on standard error, from one process of several."""
    if _is_first_process():
        print(text, file=sys.stderr)


@contextmanager
def training_bar(
    recipes: Sequence[Recipe],
) -> Iterator[Callable[[Recipe], Callable[[int, float], None]]]:
    """Show a progress bar over all recipes' tokens on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=Console(stderr=True), disable=not _is_first_process()
    ) as progress:
        whole = progress.add_task("all steps", total=sum(recipe.steps for recipe in recipes))
        before = 0

        def report(recipe: Recipe) -> Callable[[int, float], None]:
            nonlocal before
            start, before = before, before + recipe.steps
            task = progress.add_task(recipe.name, total=recipe.steps)

            def on_step(step: int, loss: float) -> None:
                progress.update(task, completed=step, description=f"{recipe.name} {loss:.3f} nats")
                progress.update(whole, completed=start + step)
                if step == recipe.steps and len(recipes) > 1:
                    progress.remove_task(task)

            return on_step

        yield report
