"""What training says to the user: from one process of several, on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rope_eval.errors import StoreError

if TYPE_CHECKING:
    from rope_eval.tuning.recipes import Recipe


def make_folder(folder: Path) -> None:
    """Make the output folder, or raise `StoreError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"Cannot make the folder {folder}: {error.strerror}.") from error


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Print a line."""
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
