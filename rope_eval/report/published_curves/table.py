"""The table of published curves: where each is lost, and what the laws say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from rope_eval.local_loss import MARGIN
from rope_eval.report.choice import picked
from rope_eval.report.formats import Cell, Table
from rope_eval.report.published_curves.file import read_curves
from rope_eval.report.published_curves.reading import STEPS, TURN, Reading, read_curve
from rope_eval.report.published_curves.trained import Trained, known

LABELS = ("model",)
COLUMNS = (
    "base",
    "trained at",
    "lost window",
    "curve turns",
    "bound",
    "lost / bound",
    "turn / bound",
    "B(m) < 0 from",
)
DEFINITION = (
    "Read from cumulative perplexities: the lost window is the first of {steps} steps whose local "
    "loss is more than {margin:g} nats a token above the least before it; the curve turns where "
    f"its nats a token are more than {TURN:g} above the least before. The bound is that of arXiv "
    "2310.05209, Theorems 2 and 3, and lost / bound is of the lost window's end. B(m) is that of "
    "arXiv 2405.14591."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    name: str
    trained: Trained
    reading: Reading

    @property
    def cells(self) -> tuple[Cell, ...]:
        trained, reading = self.trained, self.reading
        bound, lost, turn = trained.bound, reading.lost, reading.turn
        none = f"none up to {reading.longest}"
        negative = trained.first_negative(reading.longest)
        length = trained.tune_length or trained.train_length
        return (
            self.name,
            None if trained.base is None else Decimal(f"{trained.base:.0f}"),
            None if length is None else Decimal(length),
            none if lost is None else f"{lost[0]} to {lost[1]}",
            none if turn is None else Decimal(turn),
            None if bound is None else Decimal(f"{bound:.0f}"),
            None if lost is None else _ratio(lost[1], bound),
            None if turn is None else _ratio(turn, bound),
            None if negative is None else Decimal(negative),
        )

    @property
    def why_no_bound(self) -> str:
        if self.trained.missing:
            flags = " ".join(f"--{name.replace('_', '-')} …" for name in self.trained.missing)
            return f"no bound, as it is not known how it was trained: give {flags}"
        if self.trained.scaling:
            return f"no bound, as {self.trained.scaling} scales its frequencies beside the base"
        return "no bound, as every pair turns fully in pre-training"


def published_curves_table(
    file: Path,
    *,
    margin: float = MARGIN,
    steps: int = STEPS,
    rows: tuple[str, ...] = (),
    given: Mapping[str, Any] | None = None,
) -> Table:
    """Return where the curves of a file are lost, and what the laws say of their models.

    Args:
        file: a CSV, see `rope_eval.report.published_curves.file.read_curves`.
        margin: nats a token.
        steps: of the lengths that a window has.
        rows: names or shell patterns of the models to show; empty for all.
        given: how they were trained, as `Trained` has it, in the place of what is known.

    Raises:
        DataError: the file is no table of curves, or one of them is too short.
        SpecError: a pattern that fits no model, or a length or base that makes no sense.
    """
    curves = read_curves(file)
    if rows:
        curves = tuple(curves[i] for i in picked(rows, [(c.name,) for c in curves], "model"))
    facts = known()
    found = [
        _Row(
            name=curve.name,
            trained=facts.get(curve.name, Trained()).given(given or {}),
            reading=read_curve(curve, margin=margin, steps=steps),
        )
        for curve in curves
    ]
    unbound: dict[str, list[str]] = {}
    for row in found:
        if row.trained.bound is None:
            unbound.setdefault(row.why_no_bound, []).append(row.name)
    notes = [f"{why}: {', '.join(names)}." for why, names in unbound.items()]
    return Table(
        name="curves",
        caption="\n".join([DEFINITION.format(steps=steps, margin=margin), *notes]),
        labels=LABELS,
        columns=COLUMNS,
        rows=tuple(row.cells for row in found),
    )


def _ratio(length: int, bound: float | None) -> Decimal | None:
    return None if bound is None else Decimal(f"{length / bound:.2f}")
