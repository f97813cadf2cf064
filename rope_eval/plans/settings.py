"""The models and the settings of a plan, applied: each model under each setting."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rope_eval import catalogue
from rope_eval.plans.document import Value
from rope_eval.rope.spec import FIELDS
from rope_eval.setting import Setting, resolve


@dataclass(frozen=True, slots=True)
class Grid:
    """Settings: every combination of the values of some fields, beside others that are fixed.

    Attributes:
        settings: RopeSpec's fields as they were given, the last field of the grid fastest.
        where: they stand.
    """

    settings: tuple[Mapping[str, Any], ...]
    where: Value

    @classmethod
    def read(cls, value: Value) -> Grid:
        """Read a setting, or those of a grid.

        Raises:
            SpecError: for a field that is not there, or stands beside the grid too.
        """
        given = value.items((*FIELDS, "grid"))
        grid = given.pop("grid", None)
        axes = {} if grid is None else grid.items(FIELDS)
        for name in given.keys() & axes.keys():
            axes[name].refuse(f"{name} stands beside the grid too")
        fixed = {name: one.plain() for name, one in given.items()}
        columns = [[one.plain() for one in axis.elements()] for axis in axes.values()]
        rows = itertools.product(*columns)
        return cls(tuple(fixed | dict(zip(axes, row, strict=True)) for row in rows), value)


def applied(model: Value, grids: Sequence[Grid]) -> list[Setting]:
    """Return a model under each setting; what it says itself gives way to the setting.

    Args:
        model: of a plan.
        grids: of it; without one there is one setting, the model's own.

    Raises:
        DataError: for a row of the catalogue that is not there.
        SpecError: for a setting that makes no sense; both say where.
    """
    name, row = _model(model)
    grids = grids or [Grid(({},), model)]
    return [
        grid.where.checked(partial(_resolved, name, row, given))
        for grid in grids
        for given in grid.settings
    ]


def _resolved(name: str | None, row: str | None, given: Mapping[str, Any], _: object) -> Setting:
    return resolve(name, row, given)


def _model(value: Value) -> tuple[str | None, str | None]:
    """Return the model and the row: of a text, a row where the catalogue has its family."""
    if value.is_mapping:
        given = value.items(("model", "row"))
        model = given["model"].text() if "model" in given else None
        row = given["row"].text() if "row" in given else None
        if model is None and row is None:
            value.refuse("give a model, a row, or both")
    else:
        name = value.text()
        families = {known.partition("/")[0] for known in catalogue.load()}
        is_row = name.partition("/")[0] in families and not Path(name).exists()
        model, row = (None, name) if is_row else (name, None)
    if row is not None:
        value.checked(lambda _: catalogue.find(row))
    return model, row
