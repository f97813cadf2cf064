"""The catalogue's files: a family of models, and the places of checkpoints."""

from __future__ import annotations

import copy
import csv
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rope_eval.catalogue.rows import ModelSpec
from rope_eval.errors import DataError, SpecError, did_you_mean
from rope_eval.files import read_small
from rope_eval.paths import asset, is_directory
from rope_eval.rope.config_words import refuse_config_words
from rope_eval.rope.spec import FIELDS

FAMILY_KEYS = ("family", "description", "pretrain_theta", "train_length", "size", "rows")
ROW_KEYS = ("name", "checkpoint", "weights_of", "source", "tune_length", "rope", "paper")
OF_THE_WEIGHTS = ("pretrain_theta", "train_length", "tune_length")  # how they were made, not run
TABLES = ("1", "3", "4", "5")  # those of the paper with a row a model

_NAME = re.compile(r"[^\s/,=]+")  # as in config=FAMILY/ROW,… and --checkpoint FAMILY/ROW=DIR


def read_family(file: Path) -> list[ModelSpec]:
    """Return the rows of a family, in the file's order.

    Raises:
        DataError: for a file that is not as docs/catalogue.md says, naming it and the row.
        SpecError: for a RoPE setting that makes no sense, naming both too.
    """
    family = _yaml(file)
    _check_keys(str(file), family, FAMILY_KEYS, required=("family", "rows"))
    title = _name(f"{file}: family", family["family"])
    if not isinstance(family["rows"], list):
        raise DataError(f"{file}: rows must be a list, got {family['rows']!r}")
    rows: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(family["rows"], start=1):
        where = f"{file}, row {number}"
        _check_keys(where, row, ROW_KEYS, required=("name",))
        name = f"{title}/{_name(f'{where}: name', row['name'])}"
        if name in rows:
            raise DataError(f"{file}: {name} stands twice in the catalogue")
        rows[name] = row
    read = []
    for name in rows:
        try:
            read.append(_row(file, family, rows, name))
        except SpecError as error:
            raise SpecError(f"{file}: {name}: {error}") from None
    return read


def _row(
    file: Path, family: dict[str, Any], rows: dict[str, dict[str, Any]], name: str
) -> ModelSpec:
    row, where = rows[name], f"{file}: {name}"
    checkpoint = _text(f"{where}: checkpoint", row.get("checkpoint"))
    weights_of = _text(f"{where}: weights_of", row.get("weights_of"))
    if checkpoint and weights_of:
        raise DataError(f"{where} has both checkpoint and weights_of: keep one")
    facts = {key: family[key] for key in OF_THE_WEIGHTS if key in family}
    owner = weights_of and f"{family['family']}/{weights_of}"
    if owner:
        if owner not in rows or rows[owner].get("weights_of"):
            raise DataError(
                f"{where} has the weights of {owner}, which is no row with weights of its own."
                f"{did_you_mean(owner, rows)}"
            )
        made = _fields(f"{file}: {owner}", rows[owner])
        if "tune_length" in row and row["tune_length"] != made.get("tune_length"):
            raise DataError(
                f"{where}: tune_length belongs to the weights, which are those of {owner} "
                f"(tune_length {made.get('tune_length')}), got {row['tune_length']!r}: leave it out"
            )
        facts |= {key: value for key, value in made.items() if key in OF_THE_WEIGHTS}
    return ModelSpec(
        name=name,
        checkpoint=checkpoint and beside(file, checkpoint),
        fields=facts | _fields(where, row),
        weights_of=owner,
        source=_text(f"{where}: source", row.get("source")),
        paper=dict(_paper(where, family.get("size"), row.get("paper") or {})),
    )


def _fields(where: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return the RopeSpec fields that a row gives itself."""
    rope = {} if row.get("rope") is None else row["rope"]
    if not isinstance(rope, dict):
        raise DataError(f"{where}: rope must be RopeSpec fields as {{name: value}}, got {rope!r}")
    refuse_config_words({name: value for name, value in rope.items() if name not in FIELDS})
    if "tune_length" not in row:
        return rope
    if "tune_length" in rope:
        raise DataError(f"{where} has tune_length twice, in rope too: keep one")
    return {"tune_length": row["tune_length"]} | rope


def _paper(where: str, size: Any, labels: Any) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the tables and the places in them that a row says it repeats."""
    if labels and size is None:
        raise DataError(f"{where} says paper, and the family has no size: add it")
    if not isinstance(labels, dict) or not all(isinstance(t, list) for t in labels.values()):
        raise DataError(f"{where}: paper must be labels with lists of tables, got {labels!r}")
    for label, tables in labels.items():
        for table in map(str, tables):
            if table not in TABLES:
                raise DataError(
                    f"{where}: paper names table {table}; those with models are {', '.join(TABLES)}"
                )
            place = (str(size), str(label))
            if place not in published_places(table):
                known = [known for of, known in published_places(table) if of == place[0]]
                raise DataError(
                    f"{where}: Table {table} of the paper has no row {place[1]!r} of size "
                    f"{place[0]}.{did_you_mean(place[1], known)}"
                )
            yield table, place


@functools.cache
def published_places(table: str) -> tuple[tuple[str, str], ...]:
    """Return (size, label) of each row of a published table, in its order."""
    file = asset("results") / "paper" / f"table{table}.csv"
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return tuple((line["size"], line["model"]) for line in csv.DictReader(lines))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot read {file}: {error}; install the package again") from error


def read_places(file: Path) -> dict[str, str]:
    """Return the checkpoints that a file gives to rows of the catalogue.

    Raises:
        DataError: for a file that cannot be read or is no such mapping, naming the row.
    """
    entries = _yaml(file)
    if not isinstance(entries, dict):
        raise DataError(f"{file}: expected lines of NAME: DIR, got {entries!r}")
    places = {}
    for name, value in entries.items():
        if not isinstance(name, str) or not (value and isinstance(value, str)):
            raise DataError(
                f"{file}: expected NAME: DIR, both text (in quotes where YAML reads something "
                f"else), got {name!r}: {value!r}"
            )
        places[name] = beside(file, value)
    return places


def beside(file: Path, checkpoint: str) -> str:
    """Return a directory beside the YAML file by its path, and another name as it is.

    What begins with a dot is such a directory even where it is missing.
    """
    path = str(file.parent / checkpoint)
    return path if is_directory(path) or checkpoint.startswith(".") else checkpoint


def _yaml(file: Path) -> Any:
    try:
        return copy.deepcopy(_parsed(read_small(file)))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        raise DataError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    except RecursionError:
        raise DataError(f"{file} is nested too deeply") from None


@functools.lru_cache(maxsize=64)
def _parsed(text: bytes) -> Any:
    """Return what a text says; a plan of many rows reads the same files for each."""
    return yaml.safe_load(text)


def _check_keys(
    where: str, entry: Any, known: tuple[str, ...], *, required: tuple[str, ...]
) -> None:
    if not isinstance(entry, dict):
        raise DataError(f"{where}: expected a mapping with {', '.join(known)}, got {entry!r}")
    for key in entry:
        if key not in known:
            hint = did_you_mean(str(key), known)
            if key in FIELDS:
                hint = " It is a RopeSpec field: write it under rope."
            raise DataError(f"{where}: unknown key {key!r}.{hint}")
    for key in required:
        if key not in entry:
            raise DataError(f"{where}: {key} is missing")


def _text(where: str, value: Any) -> str | None:
    """Return text, or None for nothing at all."""
    if value is None or (value and isinstance(value, str)):
        return value
    raise DataError(f"{where} must be text, got {value!r}: write it in quotes")


def _name(where: str, value: Any) -> str:
    name = _text(where, value)
    if name is None or not _NAME.fullmatch(name):
        raise DataError(f"{where} must be a word without '/', ',' and '=', got {value!r}")
    return name
