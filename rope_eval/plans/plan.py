"""`Plan`: what a file asks for. Its cells are models × settings × measurements, in its order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rope_eval import catalogue
from rope_eval.errors import SpecError
from rope_eval.lengths import check_lengths, parse_length
from rope_eval.plans.document import Value, read
from rope_eval.rope.spec import FIELDS
from rope_eval.scoring.documents import Loading
from rope_eval.setting import Setting, resolve

_PLAN = ("results", "strict", "loading", "models", "settings", "measurements")
_DTYPES = ("auto", "float32", "bfloat16", "float16")
_LOADING: dict[str, Callable[[Value], Any]] = {
    "backend": Value.text,
    "dtype": lambda value: value.one_of(_DTYPES),
    "device": Value.text,
    "chunk_size": Value.count,
    "trust_remote_code": Value.flag,
    "allow_pickle": Value.flag,
    "engine": lambda value: {name: one.plain() for name, one in value.items().items()},
    "proof": Value.flag,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Perplexity:
    """Cumulative perplexity of whole books.

    Attributes:
        books: a source of `rope_eval.data.books.read_books`.
        lengths: tokens seen, BOS included, increasing.
        docs: how many documents, the first that are long enough; None for all.
    """

    books: str
    lengths: tuple[int, ...]
    docs: int | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return self.lengths[-1]

    def __str__(self) -> str:
        return f"perplexity of {self.books} to {self.lengths[-1]}"


Measurement = Perplexity


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One model under one setting, measured in one way.

    Attributes:
        setting: the checkpoint, and the RopeSpec.
        measurement: what is measured.
        loading: how the checkpoint is loaded.
        strict: refuse a field of the setting that changes nothing in the measurement.
    """

    setting: Setting
    measurement: Measurement
    loading: Loading
    strict: bool

    def __str__(self) -> str:
        model = self.setting.row or Path(self.setting.checkpoint).name
        return f"{model}, {self.setting.rope}, {self.measurement}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a file asks for.

    Attributes:
        file: the file.
        cells: what is to be done, a model's together.
        results: the folder of the store, where the file gives one.
    """

    file: Path
    cells: tuple[Cell, ...]
    results: Path | None = None

    @classmethod
    def read(cls, file: Path) -> Plan:
        """Read a plan.

        Raises:
            DataError: for a file that cannot be read, or a row of the catalogue that is not there.
            SpecError: for what is no plan, with the file, the line and the nearest known word.
        """
        whole = read(file)
        given = whole.items(_PLAN)
        for name in ("models", "measurements"):
            if name not in given:
                whole.refuse(f"a plan has {name}")
        loading = _loading(given.get("loading"))
        strict = given["strict"].flag() if "strict" in given else False
        settings = (
            [each for one in given["settings"].elements() for each in _settings(one)]
            if "settings" in given
            else [_Fields({}, whole)]
        )
        measurements = [_measurement(one) for one in given["measurements"].elements()]
        cells = [
            Cell(setting=setting, measurement=measurement, loading=loading, strict=strict)
            for model in given["models"].elements()
            for setting in _applied(model, settings)
            for measurement in measurements
        ]
        return cls(
            file=file,
            cells=tuple(cell for i, cell in enumerate(cells) if cell not in cells[:i]),
            results=Path(given["results"].text()) if "results" in given else None,
        )


@dataclass(frozen=True, slots=True)
class _Fields:
    """RopeSpec's fields as they were given, and where."""

    given: Mapping[str, Any]
    where: Value


def _loading(value: Value | None) -> Loading:
    if value is None:
        return Loading()
    given = {name: _LOADING[name](one) for name, one in value.items(_LOADING).items()}
    return value.checked(lambda _: Loading(**given))


def _settings(value: Value) -> list[_Fields]:
    """Return a setting, or those of a grid: every combination, the last field fastest."""
    given = value.items((*FIELDS, "grid"))
    grid = given.pop("grid", None)
    axes = {} if grid is None else grid.items(FIELDS)
    for name in given.keys() & axes.keys():
        axes[name].refuse(f"{name} stands beside the grid too")
    fixed = {name: one.plain() for name, one in given.items()}
    columns = [[one.plain() for one in axis.elements()] for axis in axes.values()]
    return [
        _Fields(fixed | dict(zip(axes, row, strict=True)), value)
        for row in itertools.product(*columns)
    ]


def _applied(model: Value, settings: list[_Fields]) -> list[Setting]:
    """Return a model under each setting; what it says itself gives way to the setting."""
    name, row = _model(model)
    return [one.where.checked(partial(_resolved, name, row, one.given)) for one in settings]


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


def _measurement(value: Value) -> Measurement:
    given = value.items(_MEASUREMENTS)
    if len(given) != 1:
        value.refuse(f"a measurement is one of {', '.join(_MEASUREMENTS)}, got {len(given)}")
    ((kind, options),) = given.items()
    return _MEASUREMENTS[kind](options)


def _perplexity(value: Value) -> Perplexity:
    given = value.items(("books", "lengths", "docs"))
    if "lengths" not in given:
        value.refuse("perplexity has lengths, such as [1k, 4k]")
    return Perplexity(
        books=given["books"].text() if "books" in given else "builtin",
        lengths=given["lengths"].checked(_lengths),
        docs=given["docs"].count() if "docs" in given else None,
    )


def _lengths(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise SpecError(f"expected a list of lengths, such as [1k, 4k], got {value!r:.60}")
    return check_lengths([parse_length(one) if isinstance(one, str) else one for one in value])


_MEASUREMENTS: dict[str, Callable[[Value], Measurement]] = {"perplexity": _perplexity}
