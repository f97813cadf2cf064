"""A CSV of perplexities: a model a row, a length a column."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from rope_eval.errors import DataError, SpecError, did_you_mean
from rope_eval.files import read_small
from rope_eval.lengths import parse_lengths
from rope_eval.paths import asset

SHIPPED = asset("results") / "published"


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedCurve:
    """Perplexity of documents up to each length: of all tokens so far, not of the last ones.

    Attributes:
        name: of the model.
        lengths: tokens, increasing, [L].
        perplexities: above 0, [L].
    """

    name: str
    lengths: tuple[int, ...]
    perplexities: tuple[float, ...]

    def __post_init__(self) -> None:
        assert len(self.lengths) == len(self.perplexities)


def read_curves(file: Path) -> tuple[PublishedCurve, ...]:
    """Read a table of curves, or one of those that ship by its name; blank cells are left out.

    The first line has the lengths (``4096`` or ``4k``) behind a cell that may be blank, and each
    other one a model's name and its perplexities.

    Raises:
        DataError: for a file that cannot be read, or is no such table, with the line.
    """
    file = _found(file)
    try:
        text = read_small(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8: {error}") from error
    lines = [line for line in csv.reader(io.StringIO(text)) if any(line)]
    if len(lines) < 2:
        raise DataError(f"{file} has no curve: want a line of lengths, and a line for each model")
    try:
        lengths = parse_lengths(",".join(lines[0][1:]))
    except SpecError as error:
        raise DataError(
            f"{file}: its first line must be lengths in tokens, from the second cell on: {error}"
        ) from error
    curves = [_curve(file, number, lengths, line) for number, line in enumerate(lines[1:], 2)]
    names = [curve.name for curve in curves]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{file}: {name!r} stands twice")
    return tuple(curves)


def _found(file: Path) -> Path:
    """Return the file of a table, which may be named as one that ships."""
    if file.exists() or file != Path(file.name) or file.suffix:
        return file
    ours = {path.stem: path for path in sorted(SHIPPED.glob("proof-*.csv"))}
    if file.name not in ours:
        raise DataError(
            f"there is no file {file}, and no table of curves of that name ships."
            f"{did_you_mean(file.name, ours)} These do: {', '.join(ours)}"
        )
    return ours[file.name]


def _curve(file: Path, number: int, lengths: tuple[int, ...], line: list[str]) -> PublishedCurve:
    where = f"{file}, row {number}"
    name, *cells = line
    if not name.strip():
        raise DataError(f"{where}: the first cell must name the model")
    if len(cells) > len(lengths):
        raise DataError(f"{where}: {len(cells)} perplexities for {len(lengths)} lengths")
    points = []
    for length, cell in zip(lengths, cells, strict=False):
        if not cell.strip():
            continue
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise DataError(f"{where}: a perplexity is a number above 0, got {cell!r} at {length}")
        points.append((length, value))
    return PublishedCurve(
        name=name.strip(),
        lengths=tuple(length for length, _ in points),
        perplexities=tuple(value for _, value in points),
    )
