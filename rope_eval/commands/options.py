"""The options that commands share, each declared once."""

from __future__ import annotations

import argparse
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.files import place
from rope_eval.lengths import parse_length
from rope_eval.sizes import parse_size

_FLAG = {"action": "store_true"}
OPTIONS: dict[str, dict[str, Any]] = {
    "--model": {"metavar": "DIR", "help": "a model directory, a GGUF file, or a name on the hub"},
    "--config": {"metavar": "NAME", "help": "a row of the catalogue, see `rope-eval list`"},
    "--rope": {
        "default": "",
        "metavar": "SPEC",
        "help": "RopeSpec fields, such as rope_theta=500; they win over those of a row",
    },
    "--books": {
        "default": "builtin",
        "metavar": "SRC",
        "help": "builtin, builtin-chapters, pg19, proof-pile, govreport, a .txt, .jsonl or "
        ".parquet file, packed or not, or a folder (default: builtin)",
    },
    "--dtype": {"default": "auto", "choices": ("auto", "float32", "bfloat16", "float16")},
    "--device": {"help": "as in PyTorch, or auto: layers over all GPUs (default: CUDA if there)"},
    "--trust-remote-code": _FLAG | {"help": "run code that comes with the model"},
    "--allow-pickle": _FLAG | {"help": "load weights that are not safetensors"},
    "--proof": {
        "default": "on",
        "choices": ("on", "off"),
        "help": "show on these weights, before the work, that the setting is applied (default: on)",
    },
    "--results": {
        "type": place,
        "metavar": "DIR",
        "help": "where runs are kept, a folder or a URL such as s3://bucket/runs (default: "
        "results/runs)",
    },
    "--json": _FLAG | {"help": "print JSON"},
}
ALIASES = {"--results": ("--store",)}
SETTING = ("--model", "--config", "--rope")
LOADING = ("--dtype", "--device", "--trust-remote-code", "--allow-pickle", "--proof")


def add_shared(parser: argparse.ArgumentParser, *names: str, **changes: Any) -> None:
    """Add shared options to a command, `changes` in the place of what is declared for all."""
    for name in names:
        parser.add_argument(name, *ALIASES.get(name, ()), **(OPTIONS[name] | changes))


def add_choice(parser: argparse.ArgumentParser, *, rows: bool = True) -> None:
    """Add the options that choose what is shown, for `rope_eval.report.choice.chosen`.

    They give ``rows`` and ``columns``, lists of texts, and ``lengths``, a list of tokens; empty
    where the option was not given.

    Args:
        parser: the command's.
        rows: whether rows are chosen in this way.
    """
    add = parser.add_argument
    patterns = "or shell patterns, with commas between, in the order to show them in"
    if rows:
        add("--rows", action="append", default=[], metavar="NAMES", help=f"rows: names {patterns}")
    add(
        "--columns",
        action="append",
        default=[],
        metavar="NAMES",
        help=f"tasks or metrics, or `TASK METRIC`: names {patterns}",
    )
    add("--lengths", action=_Lengths, default=[], metavar="N,…", help="such as 4k,16k")


class _Lengths(argparse.Action):
    """Lengths with commas between, of an option that may be repeated."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the lengths, or raise `SpecError`."""
        found = [parse_length(text) for text in str(values).split(",")]
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), *found])


class Checked(argparse.Action, ABC):
    """The action of an option whose value is checked, or raises `SpecError`."""

    @abstractmethod
    def read(self, text: str) -> Any:
        """Return the value of a text, or raise ValueError with what it must be."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Read the value, or raise `SpecError`."""
        try:
            value = self.read(str(values))
        except ValueError as error:
            raise SpecError(f"{option_string} must be {error}, got {values}") from None
        setattr(namespace, self.dest, value)


class Positive(Checked):
    """A whole number of 1 or more."""

    def read(self, text: str) -> int:
        """Return the number."""
        if not (_is_whole(text) and int(text)):
            raise ValueError("1 or more")
        return int(text)


class Size(Checked):
    """A size of memory, in bytes."""

    def read(self, text: str) -> int:
        """Return the bytes."""
        try:
            return parse_size(text)
        except SpecError:
            raise ValueError(
                "a number and a unit (KiB, MiB, GiB, TiB; KB, MB, GB, TB), such as 8GiB"
            ) from None


class Seed(Checked):
    """A whole number that a generator can be seeded with."""

    def read(self, text: str) -> int:
        """Return the number."""
        if not (_is_whole(text) and int(text) < 1 << 63):
            raise ValueError("from 0 to 2**63 - 1")
        return int(text)


class Rate(Checked):
    """A number above 0."""

    def read(self, text: str) -> float:
        """Return the number."""
        try:
            rate = float(text)
        except ValueError:
            rate = math.nan
        if not 0 < rate < math.inf:
            raise ValueError("a number above 0")
        return rate


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20
