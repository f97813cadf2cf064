"""`Plan`: what a file asks for. Its cells are models × settings × measurements, in its order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rope_eval import catalogue
from rope_eval.errors import SpecError
from rope_eval.files import Place, place
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A task or a group of lm-eval, or of this package for it.

    Attributes:
        task: its name.
        limit: the first so many items of each task; None for all.
        num_fewshot: examples before each item; None for the task's own number.
        max_length: tokens that the model takes; None for what its config says.
        batch_size: requests at a time.
        metadata: what the task takes, such as lengths.
    """

    task: str
    limit: int | None = None
    num_fewshot: int | None = None
    max_length: int | None = None
    batch_size: int = 1
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def longest(self) -> None:
        """Unknown before it is run; the model itself looks at its requests."""

    def __str__(self) -> str:
        return f"{self.task} of lm-eval"


Measurement = Perplexity | Task


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
        results: the folder or URL of the store, where the file gives one.
    """

    file: Path
    cells: tuple[Cell, ...]
    results: Place | None = None

    @classmethod
    def read(cls, file: Path) -> Plan:
        """Read a plan.

        Args:
            file: a YAML file, or the name of a plan that ships with the package.

        Raises:
            DataError: for a file that cannot be read, or a row of the catalogue that is not there.
            SpecError: for what is no plan, with the file, the line and the nearest known word.
        """
        shipped = Path(__file__).parent / f"{file.name}.yaml"
        is_name = file == Path(file.name) and not file.exists() and shipped.is_file()
        whole = read(shipped if is_name else file)
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
        measurements = [_measurements(one) for one in given["measurements"].elements()]
        cells = [
            Cell(setting=setting, measurement=measurement, loading=loading, strict=strict)
            for model in given["models"].elements()
            for setting in _applied(model, settings)
            for measurement in itertools.chain(*measurements)
        ]
        return cls(
            file=file,
            cells=tuple(cell for i, cell in enumerate(cells) if cell not in cells[:i]),
            results=place(given["results"].text()) if "results" in given else None,
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


def _measurements(value: Value) -> Sequence[Measurement]:
    given = value.items(_MEASUREMENTS)
    if len(given) != 1:
        value.refuse(f"a measurement is one of {', '.join(_MEASUREMENTS)}, got {len(given)}")
    ((kind, options),) = given.items()
    return _MEASUREMENTS[kind](options)


def _perplexity(value: Value) -> list[Perplexity]:
    given = value.items(("books", "lengths", "docs"))
    if "lengths" not in given:
        value.refuse("perplexity has lengths, such as [1k, 4k]")
    return [
        Perplexity(
            books=given["books"].text() if "books" in given else "builtin",
            lengths=given["lengths"].checked(_lengths),
            docs=given["docs"].count() if "docs" in given else None,
        )
    ]


_TASKS: dict[str, Callable[[Value], Any]] = {
    "limit": Value.count,
    "num_fewshot": lambda value: 0 if value.plain() == 0 else value.count(),
    "max_length": lambda value: value.checked(_length),
    "batch_size": Value.count,
}


def _tasks(value: Value) -> list[Task]:
    given = value.items(("tasks", *_TASKS, "metadata"))
    if "tasks" not in given:
        value.refuse("lm_eval has tasks, such as [piqa]")
    options = {name: read(given[name]) for name, read in _TASKS.items() if name in given}
    if "metadata" in given:
        options["metadata"] = {n: one.plain() for n, one in given["metadata"].items().items()}
    return [Task(task=one.text(), **options) for one in given["tasks"].elements()]


def _retrieval(value: Value) -> list[Task]:
    given = value.items(("lengths", "depths", "samples", "facts", "filler", "probe_seed"))
    if "lengths" not in given:
        value.refuse("retrieval has lengths, such as [1k, 4k]")
    lengths = given["lengths"].checked(_lengths)
    metadata = {name: one.plain() for name, one in given.items()} | {"lengths": list(lengths)}
    return [Task(task="retrieval", max_length=lengths[-1], metadata=metadata)]


def _length(value: Any) -> int:
    return check_lengths([parse_length(value) if isinstance(value, str) else value])[0]


def _lengths(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise SpecError(f"expected a list of lengths, such as [1k, 4k], got {value!r:.60}")
    return check_lengths([parse_length(one) if isinstance(one, str) else one for one in value])


_MEASUREMENTS: dict[str, Callable[[Value], Sequence[Measurement]]] = {
    "perplexity": _perplexity,
    "retrieval": _retrieval,
    "lm_eval": _tasks,
}
