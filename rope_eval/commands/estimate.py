"""``rope-eval estimate``: what a text will cost, before it is scored or written."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rope_eval.commands.options import SETTING, Positive, Rate, add_shared
from rope_eval.errors import SpecError
from rope_eval.labels import scaled
from rope_eval.lengths import parse_length, parse_lengths
from rope_eval.safe_text import shown
from rope_eval.terminal import say

if TYPE_CHECKING:
    from rope_eval.rope.spec import RopeSpec
    from rope_eval.scoring.cost import Cost
    from rope_eval.scoring.forecast import Devices, Forecast
    from rope_eval.scoring.machine import Machine

EPILOG = """\
examples:
  rope-eval estimate --model DIR --tokens 16k,64k,1m
  rope-eval estimate --config lab/base-1e6 --tokens 4k --generate 256
  rope-eval estimate --parameters 8b --tokens 128k,1m --devices 8 --dtype bfloat16 \\
      --flops 4e14 --bandwidth 3e12 --link 2e11

Without --flops and --bandwidth the device is measured, in a few seconds. No weights are loaded.
Lengths are in tokens: k = 1024 and m = 1024²; of --parameters k, m, b and t are powers of 1000.
docs/scaling.md has every formula, and how near it comes to what is measured.
"""
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([kmbt]?)", re.IGNORECASE)
_POWERS = {"": 0, "k": 3, "m": 6, "b": 9, "t": 12}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "estimate",
        help="operations, memory and seconds, before anything runs",
        description="Print what scoring texts of these lengths, and writing after them, will cost.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_shared(parser, *SETTING)
    add("--parameters", metavar="N", help="of a model in Llama 3's proportions, such as 8b")
    add("--tokens", required=True, metavar="LIST", help="lengths of a text, such as 16k,64k,1m")
    add("--generate", metavar="N", help="also tokens that are written after it")
    add("--devices", action=Positive, default=1, metavar="G", help="that a text is over")
    add(
        "--split",
        default="queries",
        choices=("queries", "layers"),
        help="what the devices share: a text's queries, each with all weights, or the layers "
        "(default: queries)",
    )
    add("--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    add("--chunk-size", action=Positive, metavar="C", help="tokens at a time, as of `ppl`")
    add("--device", help="what is measured, as in PyTorch (default: CUDA where there is one)")
    add("--flops", action=Rate, metavar="RATE", help="operations a second of a device")
    add("--bandwidth", action=Rate, metavar="RATE", help="bytes a second of its memory")
    add("--link", action=Rate, metavar="RATE", help="bytes a second that a device receives")
    add_shared(parser, "--trust-remote-code", "--json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the forecast; return the exit status.

    Raises:
        SpecError: for neither or both of a model and a size, one rate of two, or a split that is
            not possible.
        DataError: for a config that makes no model.
    """
    lengths = parse_lengths(args.tokens)
    written = None if args.generate is None else parse_length(args.generate)
    if (args.flops is None) != (args.bandwidth is None):
        raise SpecError("--flops and --bandwidth go together: give both, or none to measure them")
    if args.flops is not None and args.device is not None:
        raise SpecError("--device is measured, and --flops is given: leave one out")
    size = None if args.parameters is None else parse_size(args.parameters)

    from rope_eval.scoring import forecast
    from rope_eval.scoring.cost import usual_chunk, usual_device
    from rope_eval.scoring.machine import Machine, measured

    over = forecast.Devices(count=args.devices, split=args.split)
    if written:
        over.check_steps()
    cost, name, dtype, rope = _model(args, size)
    if args.flops is None:
        device = args.device or usual_device()
        machine = measured(cost, dtype, device=device, link=args.link)
        chunk_size = args.chunk_size or usual_chunk(device)
    else:
        machine = Machine.given(args.flops, args.bandwidth, args.link)
        chunk_size = args.chunk_size or usual_chunk("cuda")
    common: dict[str, Any] = {"rope": rope, "devices": over}
    scored = {
        n: forecast.scoring(cost, n, machine, dtype, chunk_size=chunk_size, **common)
        for n in lengths
    }
    steps = {}
    if written:
        steps = {
            n: forecast.generation(cost, n, written, machine, dtype, **common) for n in lengths
        }
    facts = {
        "model": name,
        "size": asdict(cost),
        "dtype": dtype,
        "chunk_size": chunk_size,
        "devices": asdict(over),
        "machine": asdict(machine) | {"measured": args.flops is None},
        "scoring": {str(n): _facts(one) for n, one in scored.items()},
        "generation": {str(n): _facts(one) for n, one in steps.items()},
    }
    if args.json:
        print(json.dumps(facts, indent=2))
    else:
        say(_text(name, cost, dtype, over, machine, args.flops is None, scored, steps))
    return 0


def parse_size(text: str) -> int:
    """Return a number of parameters: k, m, b and t are powers of 1000.

    Raises:
        SpecError: for anything else.

    >>> parse_size("1.5b")
    1500000000
    """
    match = _SIZE.fullmatch(text.strip())
    size = round(float(match[1]) * 10 ** _POWERS[match[2].lower()]) if match else 0
    if not 1 <= size <= 10**14:
        raise SpecError(
            f"--parameters is a number from 1 to 100t, such as 8b or 135m; got {text!r}"
        )
    return size


def _model(args: argparse.Namespace, size: int | None) -> tuple[Cost, str, str, RopeSpec]:
    """Return a model's size, what it is called, its dtype, and the setting."""
    from rope_eval.results.resolved import resolved_dtype
    from rope_eval.rope.spec import RopeSpec
    from rope_eval.scoring.cost import BYTES, Cost

    if size is not None:
        if args.model is not None or args.config is not None:
            raise SpecError("--parameters is a model's size, and one is given: leave one out")
        dtype = "bfloat16" if args.dtype == "auto" else args.dtype
        return Cost.of_size(size), "in Llama 3's proportions", dtype, RopeSpec.parse(args.rope)
    if args.model is None and args.config is None:
        raise SpecError("give a model: --model DIR, --config NAME, or its size: --parameters N")

    from rope_eval.backends.checkpoint import check_there
    from rope_eval.setting import resolve

    setting = resolve(args.model, args.config, args.rope)
    check_there(setting.checkpoint)

    from rope_eval.backends.hf.loading import load_config

    config = load_config(setting.checkpoint, trust_remote_code=args.trust_remote_code)
    dtype = resolved_dtype(setting.checkpoint, args.dtype, "hf")
    if dtype not in BYTES:
        raise SpecError(f"the files of {setting.checkpoint} do not say its dtype: give --dtype")
    return Cost.of(config), setting.checkpoint, dtype, setting.rope


def _facts(one: Forecast) -> dict[str, Any]:
    return asdict(one) | {"tokens_per_second": one.rate}


def _text(
    name: str,
    cost: Cost,
    dtype: str,
    over: Devices,
    machine: Machine,
    measured: bool,
    scored: dict[int, Forecast],
    steps: dict[int, Forecast],
) -> str:
    each = f"{over.count} devices, {over.split} split" if over.count > 1 else "one device"
    link = "" if machine.link is None else f", {scaled(machine.link)}B/s between devices"
    products, *others = (
        scaled(rate).strip()
        for rate in (
            machine.products,
            machine.attention,
            machine.bandwidth,
            machine.cached,
            machine.moves,
            machine.logits,
        )
    )
    lines = [
        f"model    {shown(name)}: {scaled(cost.parameters).strip()} parameters, {cost.layers} "
        f"layers of {cost.hidden}, {dtype}",
        f"machine  {'measured' if measured else 'given'}: {products}FLOP/s of products, "
        f"{others[0]} of attention,",
        f"         {others[1]}B/s of weights, {others[2]} of a cache, {others[3]} of layers, "
        f"{others[4]} of logits{link}",
        "",
        f"scoring a text, {each}",
        *_table(scored),
    ]
    if steps:
        count = next(iter(steps.values())).tokens
        lines += ["", f"writing {count} tokens after a text, {each}", *_table(steps)]
    if any(one.seconds is None for one in (*scored.values(), *steps.values())):
        lines += ["", "note: no seconds without the speed between devices: give --link"]
    return "\n".join(lines)


def _table(rows: dict[int, Forecast]) -> list[str]:
    from rope_eval.report.measured import length_text

    received = any(one.received for one in rows.values())
    lines = [
        f"{'text':>8}{'FLOPs':>10}{'moved':>11}{'memory':>11}"
        + (f"{'received':>11}" if received else "")
        + f"{'seconds':>12}{'tokens/s':>12}"
    ]
    for n, one in rows.items():
        seconds = "" if one.seconds is None else f"{one.seconds:.4g}"
        rate = "" if one.rate is None else f"{one.rate:.4g}"
        lines.append(
            f"{length_text(n):>8}{scaled(one.flops):>10}{scaled(one.bytes) + 'B':>11}"
            f"{scaled(one.memory) + 'B':>11}"
            + (f"{scaled(one.received) + 'B':>11}" if received else "")
            + f"{seconds:>12}{rate:>12}"
        )
    return lines
