"""``rope-eval serve``: vLLM's OpenAI server with a row of the catalogue, or any RopeSpec, in it."""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import shlex
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from rope_eval.commands.options import add_shared
from rope_eval.errors import SpecError
from rope_eval.paths import is_directory
from rope_eval.safe_text import shown
from rope_eval.terminal import remark

if TYPE_CHECKING:
    from rope_eval.rope.spec import RopeSpec

LOOPBACK = "127.0.0.1"
EPILOG = """\
examples:
  rope-eval serve lab/base-1e6 --print
  rope-eval serve llama2-7b/ntk-fixed-8 --max-model-len 16384 --tensor-parallel-size 2
  rope-eval serve DIR --rope rope_theta=500,log_scale=true --port 8001
  rope-eval serve DIR --host 0.0.0.0 --api-key KEY

Every other argument goes to `vllm serve`. Under dynamic_ntk=per_sequence a request's base is set by
its prompt and max_tokens together; {"vllm_xargs": {"rope_len": N}} in a request overrides that.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "serve",
        help="vLLM's OpenAI server under a RoPE setting",
        description="Compose the `vllm serve` command of a RoPE setting, and run it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "name",
        metavar="NAME",
        help="a row of the catalogue, a model directory, or a name on the hub; it comes first",
    )
    add_shared(parser, "--model", help="another checkpoint for the row: a directory or a hub name")
    add_shared(parser, "--rope")
    add("--host", default=LOOPBACK, help="where it listens (default: %(default)s, this machine)")
    add("--print", action="store_true", help="print the command, and do not run it")
    parser.set_defaults(run=run, passes_on=True)


def run(args: argparse.Namespace) -> int:
    """Print the command, or become it; return the exit status.

    Raises:
        SpecError: for a setting that vLLM cannot serve, or where vLLM is not installed.
        DataError: for a row or a checkpoint that is not there.
    """
    if not args.name:
        raise SpecError("NAME is empty: give a row of the catalogue, or a model directory")
    is_row = _is_row(args.name)
    if args.model is not None and not is_row:
        raise SpecError(f"--model is for a row of the catalogue, and {args.name} is none")

    from rope_eval.setting import resolve

    setting = resolve(args.model if is_row else args.name, args.name if is_row else None, args.rope)
    model: str = setting.checkpoint

    from rope_eval.backends.vllm.serving import check_servable

    check_servable(setting.rope)
    words = command(args.name if is_row else Path(model).name, model, setting.rope, args.rest)
    words += [f"--host={args.host}"]
    if not _is_loopback(args.host):
        remark(
            f"rope-eval: serving on {args.host!r}: whoever reaches this machine can use it, "
            "unless vLLM's --api-key asks for a key"
        )
    if args.print:
        print(shown(shlex.join(words)))
        return 0

    from rope_eval.backends.checkpoint import check_checkpoint

    check_checkpoint(model)

    from rope_eval.backends.vllm.engine import refuse_gguf, require_vllm

    require_vllm()
    refuse_gguf(model)
    program = Path(sys.executable).with_name(words[0])
    os.execv(program, words)


def command(name: str, model: str, rope: RopeSpec, rest: list[str]) -> list[str]:
    """Return the words of the `vllm serve` command that puts a RopeSpec on a model."""
    given = {_option(word) for word in rest}
    if "--additional-config" in given:
        raise SpecError("--additional-config is rope-eval's own here: give fields with --rope")
    _check_rope(rest)
    if model.startswith("-"):
        raise SpecError(f"the model {model!r} reads as an option: write ./{model}")
    words = ["vllm", "serve", model]
    words += ["--additional-config", json.dumps({"rope_eval": rope.to_dict()})]
    if "--served-model-name" not in given:
        words += [f"--served-model-name={name}"]  # one word: a name with - first is no option
    return words + rest


def _is_row(name: str) -> bool:
    """Tell a row, misspelt or not, from a directory, and from a name on the hub."""
    from rope_eval import catalogue

    owner, slash, _ = name.partition("/")
    families = {row.partition("/")[0] for row in catalogue.load()}
    return not is_directory(name) and (not slash or owner in families)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _option(word: str) -> str:
    """Return the option of a word as vLLM reads it: --a_b.c=1 is one of --a-b."""
    return word.split("=", maxsplit=1)[0].split(".", maxsplit=1)[0].replace("_", "-")


def _check_rope(rest: list[str]) -> None:
    """Raise `SpecError` for a RoPE setting among the words for vLLM."""
    from rope_eval.rope.config_words import is_config_word, refuse_config_words

    for word, following in pairwise([*rest, ""]):
        option, equals, value = word.partition("=")
        name = option.replace("_", "-").removeprefix("--hf-overrides.").removeprefix("--")
        if _option(option) == "--hf-overrides" and "." not in option:
            try:
                overrides = json.loads(value if equals else following)
            except ValueError:
                continue  # vLLM says what is wrong with it
            refuse_config_words({"hf_overrides": overrides})
        elif option.startswith("--") and is_config_word(name.split(".")[0].replace("-", "_")):
            raise SpecError(f"{option} would set RoPE beside the RopeSpec: give fields with --rope")
