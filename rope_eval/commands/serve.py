"""``rope-eval serve``: vLLM's OpenAI server with a row of the catalogue, or any RopeSpec, in it."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rope_eval.errors import SpecError
from rope_eval.setting import model_and_rope

if TYPE_CHECKING:
    from rope_eval.rope.spec import RopeSpec

EPILOG = """\
examples:
  rope-eval serve lab/base-1e6 --print
  rope-eval serve llama2-7b/ntk-fixed-8 --max-model-len 16384 --tensor-parallel-size 2
  rope-eval serve DIR --rope rope_theta=500,log_scale=true --port 8001

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
    add("name", metavar="NAME", help="a row of the catalogue, or a model directory; it comes first")
    add("--model", metavar="DIR", help="another checkpoint for the row: a directory or a hub name")
    add("--rope", default="", metavar="SPEC", help="RopeSpec fields, such as rope_theta=500")
    add("--print", action="store_true", help="print the command, and do not run it")
    parser.set_defaults(run=run, passes_on=True)


def run(args: argparse.Namespace) -> int:
    """Print the command, or become it; return the exit status.

    Raises:
        SpecError: for a setting that vLLM cannot serve, or where vLLM is not installed.
        DataError: for a row or a checkpoint that is not there.
    """
    is_row = not Path(args.name).is_dir()
    model, rope = model_and_rope(
        args.name if is_row else None, args.model if is_row else args.name, args.rope
    )

    from rope_eval.backends.vllm.serving import check_servable

    check_servable(rope)
    words = command(args.name if is_row else Path(model).name, model, rope, args.rest)
    if args.print:
        print(shlex.join(words))
        return 0

    from rope_eval.backends.hf.loading import check_checkpoint
    from rope_eval.backends.vllm.engine import require_vllm

    require_vllm()
    check_checkpoint(model)
    program = Path(sys.executable).with_name(words[0])
    os.execv(program, words)


def command(name: str, model: str, rope: RopeSpec, rest: list[str]) -> list[str]:
    """Return the words of the `vllm serve` command that puts a RopeSpec on a model."""
    given = {word.split("=")[0] for word in rest}
    if "--additional-config" in given:
        raise SpecError("--additional-config is rope-eval's own here: give fields with --rope")
    words = ["vllm", "serve", model]
    words += ["--additional-config", json.dumps({"rope_eval": rope.to_dict()})]
    if "--served-model-name" not in given:
        words += ["--served-model-name", name]
    return words + rest
