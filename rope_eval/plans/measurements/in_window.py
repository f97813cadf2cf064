"""In-window losses in a plan: what tokens cost with no more context than training has shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rope_eval.errors import SpecError
from rope_eval.plans.cell import Cell, Kind
from rope_eval.plans.context import Context
from rope_eval.plans.document import Value
from rope_eval.plans.parts import Compute, Found, Part, Report, Whole
from rope_eval.plans.texts import Books, OfBooks, record_of
from rope_eval.plans.values import length
from rope_eval.results.resolved import trained_length
from rope_eval.runner.texts import Texts


@dataclass(frozen=True, kw_only=True)
class InWindow(OfBooks):
    """The loss of each token in a window of its own: what a measured max context is told by.

    Attributes:
        length: tokens of each document.
        docs: how many documents, the first that are long enough; None for all.
        window: tokens of a window; None for the longest length that the model was trained at.
    """

    kind_of_run: ClassVar[str] = "in_window"
    length: int
    docs: int | None = None
    window: int | None = None

    @property
    def longest(self) -> int | None:
        """Tokens of a window, as far as they were given."""
        return self.window

    def __str__(self) -> str:
        return f"in-window losses in {self.books} to {self.length}"

    @property
    def _texts(self) -> Books:
        return Books(source=self.books, tokens=self.length, documents=self.docs)

    def _options(self, cell: Cell) -> dict[str, Any]:
        return {"length": self.length, "window": self._window(cell)}

    def _together(self, cell: Cell, whole: Whole, found: Sequence[Found]) -> Found:
        nll = np.stack([one.arrays["nll"] for one in found])
        return Found(results={}, arrays={"nll": nll}, record=record_of(found))

    def _window(self, cell: Cell) -> int:
        window = self.window or trained_length(cell.setting.checkpoint, cell.setting.rope)
        if window is None:
            raise SpecError("the length of its training is not known: give window: …")
        window -= window % 2
        if not 2 <= window < self.length:
            raise SpecError(
                f"windows of {window} tokens need longer texts: length is {self.length}"
            )
        return window

    @contextmanager
    def _opened(self, cell: Cell, context: Context, texts: Texts) -> Iterator[Compute]:
        from rope_eval.scoring.in_window import score_in_windows

        setting, window = cell.setting, self._window(cell)
        with context.model.under(setting.checkpoint, setting.rope, cell.loading) as (model, record):

            def compute(part: Part, report: Report) -> Found:
                scores = score_in_windows(model, texts.ids(part.of), window)
                return Found(results={}, arrays={"nll": scores.nll}, record=record)

            yield compute


def _read(value: Value) -> list[InWindow]:
    given = value.items(("books", "length", "docs", "window"), needed={"length": "16k"})
    options: dict[str, Any] = {}
    if "docs" in given:
        options["docs"] = given["docs"].count()
    if "window" in given:
        options["window"] = length(given["window"])
    return [
        InWindow(
            books=given["books"].text() if "books" in given else "builtin",
            length=length(given["length"]),
            **options,
        )
    ]


KIND = Kind(word="in_window", read=_read)
