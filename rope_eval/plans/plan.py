"""`Plan`: what a file asks for. Its cells are models × settings × measurements, in its order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rope_eval.errors import DataError, did_you_mean
from rope_eval.files import Place, place
from rope_eval.plans.cell import Cell, Measurement
from rope_eval.plans.document import Value, read
from rope_eval.plans.measurements import REGISTRY
from rope_eval.plans.settings import Grid, applied, named
from rope_eval.scoring.documents import Loading
from rope_eval.setting import Setting
from rope_eval.sizes import parse_size

SHIPPED = Path(__file__).parent / "shipped"
_OF_ALL = ("results", "strict", "loading")
_EXPERIMENT = ("models", "settings", "measurements")
_NEEDED = {"models": "[lab/pretrained]", "measurements": "[perplexity: {lengths: [4k]}]"}
_DTYPES = ("auto", "float32", "bfloat16", "float16")
_LOADING: dict[str, Callable[[Value], Any]] = {
    "backend": Value.text,
    "dtype": lambda value: value.one_of(_DTYPES),
    "device": Value.text,
    "chunk_size": Value.count,
    "trust_remote_code": Value.flag,
    "allow_pickle": Value.flag,
    "memory_budget": lambda value: value.checked(parse_size),
    "offload": Value.flag,
    "engine": lambda value: {name: one.plain() for name, one in value.items().items()},
    "proof": Value.flag,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a file asks for.

    Attributes:
        file: the file.
        cells: what is to be done, a model's together.
        results: the folder or URL of the store, where the file gives one.
        asked: its measurements, and where each stands.
        absent: rows of the catalogue that it asks for together and that cannot run here, and why.
    """

    file: Path
    cells: tuple[Cell, ...]
    results: Place | None
    asked: tuple[tuple[Measurement, Value], ...]
    absent: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Plan:
        """Read a plan.

        Args:
            file: a YAML file, or the name of a plan that ships with the package.

        Raises:
            DataError: for a file that cannot be read, or a row of the catalogue that is not there.
            SpecError: for what is no plan, with the file, the line and the nearest known word.
        """
        file = _found(file)
        whole = read(file)
        given = whole.items((*_OF_ALL, *_EXPERIMENT, "experiments"))
        loading = _loading(given.get("loading"))
        strict = given["strict"].flag() if "strict" in given else False
        cells: list[Cell] = []
        absent: dict[str, str] = {}
        asked: list[tuple[Measurement, Value]] = []
        for one in _experiments(whole, given):
            settings, measured, lacking = _read(one)
            asked += measured
            absent |= lacking
            cells += [
                Cell(setting=setting, measurement=measurement, loading=loading, strict=strict)
                for setting in settings
                for measurement, _ in measured
            ]
        return cls(
            file=file,
            cells=tuple(_by_model(cells)),
            results=place(given["results"].text()) if "results" in given else None,
            asked=tuple(asked),
            absent=absent,
        )

    def check(self) -> None:
        """Refuse what no model can be measured in, before any is loaded.

        Raises:
            RopeEvalError: of the kind that fits, such as for a task of lm-eval that is not there,
                with the file and the line.
        """
        for measurement, value in self.asked:
            value.checked(partial(_check, measurement))


def shipped() -> dict[str, str]:
    """Return the plans that ship, by name, and what each one's first comment says."""
    return {
        file.stem: _comment(file.read_text(encoding="utf-8"))
        for file in sorted(SHIPPED.glob("*.yaml"))
    }


def _check(measurement: Measurement, _: object) -> None:
    measurement.check()


def _comment(text: str) -> str:
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return " ".join(line.removeprefix("#").strip() for line in lines)


def _found(file: Path) -> Path:
    """Return the file of a plan, which may be named as one that ships."""
    if file.exists() or file != Path(file.name) or file.suffix:
        return file
    if (ours := SHIPPED / f"{file.name}.yaml").is_file():
        return ours
    names = shipped()
    raise DataError(
        f"there is no file {file}, and no plan of that name ships.{did_you_mean(file.name, names)} "
        f"These do: {', '.join(names)}"
    )


def _experiments(whole: Value, given: Mapping[str, Value]) -> list[Mapping[str, Value]]:
    """Return the experiments of a plan: those that it lists, or the one that it is."""
    if "experiments" not in given:
        return [whole.items(needed=_NEEDED)]
    for name in _EXPERIMENT:
        if name in given:
            given[name].refuse(f"{name} stands beside experiments: put it into one of them")
    return [one.items(_EXPERIMENT, needed=_NEEDED) for one in given["experiments"].elements()]


def _read(
    given: Mapping[str, Value],
) -> tuple[list[Setting], list[tuple[Measurement, Value]], dict[str, str]]:
    """Return an experiment's models under its settings, its measurements, and what is absent."""
    grids = [Grid.read(one) for one in given["settings"].elements()] if "settings" in given else []
    measured = [
        (measurement, one)
        for one in given["measurements"].elements()
        for measurement in _measurements(one)
    ]
    settings: list[Setting] = []
    absent: dict[str, str] = {}
    for one in given["models"].elements():
        models, lacking = named(one)
        absent |= lacking
        settings += [setting for model in models for setting in applied(model, one, grids)]
    return settings, measured, absent


def _by_model(cells: Sequence[Cell]) -> Iterator[Cell]:
    """Yield each cell once, those of a model together."""
    models: dict[str, list[Cell]] = {}
    for cell in cells:
        of_model = models.setdefault(cell.setting.checkpoint, [])
        if cell not in of_model:
            of_model.append(cell)
    return itertools.chain.from_iterable(models.values())


def _loading(value: Value | None) -> Loading:
    if value is None:
        return Loading()
    given = {name: _LOADING[name](one) for name, one in value.items(_LOADING).items()}
    loading: Loading = value.checked(lambda _: Loading(**given))
    return loading


def _measurements(value: Value) -> list[Measurement]:
    given = value.items(REGISTRY)
    if len(given) != 1:
        value.refuse(f"a measurement is one of {', '.join(REGISTRY)}, got {len(given)}")
    ((word, options),) = given.items()
    return list(REGISTRY[word].read(options))
