"""The options that commands share, each declared once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rope_eval.errors import SpecError

_FLAG = {"action": "store_true"}
OPTIONS: dict[str, dict[str, Any]] = {
    "--model": {"metavar": "DIR", "help": "a model directory, or a name on the hub"},
    "--config": {"metavar": "NAME", "help": "a row of the catalogue, see `rope-eval list`"},
    "--rope": {
        "default": "",
        "metavar": "SPEC",
        "help": "RopeSpec fields, such as rope_theta=500; they win over those of a row",
    },
    "--books": {
        "default": "builtin",
        "metavar": "SRC",
        "help": "builtin, builtin-chapters, pg19, a folder of .txt, a .txt or .jsonl[.gz|.zst] "
        "file (default: builtin)",
    },
    "--dtype": {"default": "auto", "choices": ("auto", "float32", "bfloat16", "float16")},
    "--device": {"help": "as in PyTorch (default: CUDA where there is one)"},
    "--trust-remote-code": _FLAG | {"help": "run code that comes with the model"},
    "--allow-pickle": _FLAG | {"help": "load weights that are not safetensors"},
    "--results": {
        "type": Path,
        "metavar": "DIR",
        "help": "where runs are kept (default: results/runs)",
    },
    "--json": _FLAG | {"help": "print JSON"},
}
SETTING = ("--model", "--config", "--rope")
LOADING = ("--dtype", "--device", "--trust-remote-code", "--allow-pickle")


def add_shared(parser: argparse.ArgumentParser, *names: str, **changes: Any) -> None:
    """Add shared options to a command, `changes` in the place of what is declared for all."""
    for name in names:
        parser.add_argument(name, **(OPTIONS[name] | changes))


class Positive(argparse.Action):
    """The action of an option that takes a whole number of 1 or more."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Read the number, or raise `SpecError`."""
        text = str(values)
        if not (text.isascii() and text.isdecimal() and len(text) < 19 and int(text)):
            raise SpecError(f"{option_string} must be 1 or more, got {text}")
        setattr(namespace, self.dest, int(text))
