"""The models and the settings of a plan, applied: each model under each setting."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from rope_eval import catalogue
from rope_eval.catalogue.rows import ModelSpec
from rope_eval.errors import did_you_mean
from rope_eval.plans.document import Value
from rope_eval.rope.spec import FIELDS
from rope_eval.setting import Setting, resolve

_NAMES = ("model", "models", "row", "rows", "paper")


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """A model of a plan.

    Attributes:
        model: a directory, a GGUF file or a name on the hub, or None with `row`.
        row: of the catalogue, or None.
        fields: of RopeSpec, what the plan says of the model; a setting wins.
    """

    model: str | None = None
    row: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def named(value: Value) -> tuple[list[Named], dict[str, str]]:
    """Return the models of an entry of a plan.

    Returns:
        The models, and of rows that were asked for together those that cannot run here, and why.

    Raises:
        DataError: for a row of the catalogue that is not there.
        SpecError: for what is no model; both say where.
    """
    if not value.is_mapping:
        name = value.text()
        families = {known.partition("/")[0] for known in catalogue.load()}
        is_row = name.partition("/")[0] in families and not Path(name).exists()
        return [_checked(Named(row=name) if is_row else Named(model=name), value)], {}
    given = value.items((*_NAMES, *FIELDS))
    fields = {name: given.pop(name).plain() for name in FIELDS if name in given}
    if len(given) > 1 and given.keys() != {"model", "row"}:
        value.refuse(f"give a model and a row, or one of {', '.join(given)} alone")
    if "models" in given:
        models = [one.text() for one in given["models"].elements()]
        return [Named(model=model, fields=fields) for model in models], {}
    if "rows" in given or "paper" in given:
        found = _matching(given["rows"]) if "rows" in given else _of_table(given["paper"])
        absent = {row.name: row.absence for row in found if row.absence is not None}
        there = [row.name for row in found if row.absence is None]
        return [Named(row=row, fields=fields) for row in there], absent
    model = given["model"].text() if "model" in given else None
    row = given["row"].text() if "row" in given else None
    if model is None and row is None:
        value.refuse("give a model, a row, or both")
    return [_checked(Named(model=model, row=row, fields=fields), value)], {}


def _matching(value: Value) -> list[ModelSpec]:
    """Return the rows of the catalogue that patterns fit, in its order."""
    rows = catalogue.load(checkpoints=catalogue.read_checkpoints())
    chosen = set()
    for pattern in value.elements():
        fit = {name for name in rows if fnmatchcase(name, pattern.text())}
        if not fit:
            hint = did_you_mean(pattern.text(), rows)
            pattern.refuse(f"no row of the catalogue is like {pattern.text()!r}.{hint}")
        chosen |= fit
    return [row for name, row in rows.items() if name in chosen]


def _of_table(value: Value) -> list[ModelSpec]:
    """Return the rows of the catalogue that stand in a table of the paper."""
    rows = catalogue.load(checkpoints=catalogue.read_checkpoints()).values()
    tables = sorted({table for row in rows for table in row.paper})
    table = str(value.plain())
    if table not in tables:
        value.refuse(f"the paper has rows in its tables {', '.join(tables)}, not in {table}")
    return [row for row in rows if table in row.paper]


def applied(model: Named, where: Value, grids: Sequence[Grid]) -> list[Setting]:
    """Return a model under each setting; what it says itself gives way to the setting.

    Args:
        model: of `named`.
        where: it stands.
        grids: of the plan; without one there is one setting, the model's own.

    Raises:
        DataError: for a row of the catalogue without a checkpoint.
        SpecError: for a setting that makes no sense; both say where.
    """
    grids = grids or [Grid(({},), where)]
    return [
        grid.where.checked(partial(_resolved, model, given))
        for grid in grids
        for given in grid.settings
    ]


def _resolved(model: Named, given: Mapping[str, Any], _: object) -> Setting:
    return resolve(model.model, model.row, {**model.fields, **given})


def _checked(model: Named, value: Value) -> Named:
    if model.row is not None:
        value.checked(partial(_find, model.row))
    return model


def _find(row: str, _: object) -> ModelSpec:
    return catalogue.find(row)
