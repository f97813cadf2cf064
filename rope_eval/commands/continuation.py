"""``rope-eval continue``: what a model goes on with under each setting, beside the book."""

from __future__ import annotations

import argparse
import json
import textwrap
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from rope_eval.commands.options import LOADING, Positive, add_shared
from rope_eval.commands.progress import progress_bar
from rope_eval.lengths import parse_length
from rope_eval.safe_text import shown, shown_lines
from rope_eval.terminal import remark

if TYPE_CHECKING:
    from rope_eval.results.store import Store

EPILOG = """\
examples:
  rope-eval continue --model DIR --books builtin-chapters --length 256
  rope-eval continue --config lab/pretrained --length 512 --tokens 80 \\
      --rope "" --rope linear_factor=4 --rope dynamic_ntk=per_query,log_scale=true
  rope-eval continue --model DIR --books pg19 --length 16k --docs 3 --json

The model is given the first --length tokens of a book and writes the likeliest token --tokens times
(arXiv 2310.05209, Appendix E). Each continuation is kept in --results.
"""
WIDTH = 80
LEAST = 24  # characters of a column; narrower ones stand below each other
BETWEEN = "  "


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "continue",
        help="a book's continuations, several settings side by side",
        description="Continue books greedily under each setting, beside what the books go on with.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_shared(parser, "--model", "--config")
    add_shared(
        parser,
        "--rope",
        action="append",
        default=None,
        help="RopeSpec fields, such as rope_theta=500; may be given more than once",
    )
    add_shared(parser, "--books")
    add(
        "--length", required=True, metavar="N", help="tokens of the book that are given, such as 4k"
    )
    add("--tokens", action=Positive, default=64, metavar="N", help="to write (default: 64)")
    add("--docs", action=Positive, default=1, metavar="N", help="the first N long enough")
    add_shared(parser, *LOADING, "--results", "--json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Continue the books, and print them side by side; return the exit status.

    Raises:
        RopeEvalError: of the kind that fits what is wrong.
    """
    length = parse_length(args.length)

    from rope_eval.plans.cell import Cell
    from rope_eval.plans.context import Context
    from rope_eval.plans.measurements.generation import Generation
    from rope_eval.plans.models import LoadedModel
    from rope_eval.plans.remote_claims import claims_of
    from rope_eval.results.store import DEFAULT_ROOT, Store
    from rope_eval.scoring.documents import Loading
    from rope_eval.setting import resolve

    wanted = Generation(books=args.books, length=length, tokens=args.tokens, docs=args.docs)
    loading = Loading(
        dtype=args.dtype,
        device=args.device,
        trust_remote_code=args.trust_remote_code,
        allow_pickle=args.allow_pickle,
        proof=args.proof == "on",
    )
    settings = [resolve(args.model, args.config, rope) for rope in args.rope or [""]]
    store = Store(args.results or DEFAULT_ROOT)
    model, claims = LoadedModel(), claims_of(store)
    found = []
    with progress_bar("loading") as report:
        for i, setting in enumerate(settings):

            def say(what: str, part: float, i: int = i) -> None:
                report(what, (i + part) / len(settings))

            cell = Cell(setting=setting, measurement=wanted, loading=loading, strict=False)
            context = Context(store=store, model=model, claims=claims, retry=True, progress=say)
            outcome = wanted.measure(cell, context)
            kept = store.get(outcome.key)
            assert kept is not None
            found.append(
                {
                    "model": kept.request["model"],
                    "rope": setting.rope.to_dict(),
                    "setting": str(setting.rope),
                    "samples": kept.results["samples"],
                    "key": outcome.key,
                    "from_store": not outcome.units,
                    "note": outcome.note,
                }
            )
    for one in found:
        if one["note"]:
            remark(f"note: {one['setting']}: {one['note']}")
    print(json.dumps(found, indent=2) if args.json else _text(found, store))
    return 0


def _text(found: list[dict[str, Any]], store: Store) -> str:
    from rope_eval.terminal import terminal_width

    width = terminal_width() or WIDTH
    blocks = [f"model  {shown(found[0]['model'])}"]
    for i, sample in enumerate(found[0]["samples"]):
        columns = [("the book", sample["reference"])]
        columns += [(one["setting"], one["samples"][i]["text"]) for one in found]
        last = sample["prompt"][-200:]
        blocks += [
            f"{shown(sample['document'])}, {sample['context_tokens']} tokens, which end with:",
            "\n".join(f"    {line}" for line in _wrapped(last, width - 4)),
            _side_by_side(columns, width),
        ]
    runs = (
        f"run    {shown(store.place(one['key']))}{', from the store' if one['from_store'] else ''}"
        for one in found
    )
    return "\n\n".join([*blocks, "\n".join(runs)])


def _side_by_side(columns: list[tuple[str, str]], width: int) -> str:
    """Return titles and texts as columns, as many beside each other as are wide enough."""
    beside = max(1, min(len(columns), (width + len(BETWEEN)) // (LEAST + len(BETWEEN))))
    each = (width + len(BETWEEN)) // beside - len(BETWEEN)
    blocks = []
    for start in range(0, len(columns), beside):
        cells = [
            [*_wrapped(title.replace(",", ", "), each), "-" * each, *_wrapped(text, each)]
            for title, text in columns[start : start + beside]
        ]
        rows = zip_longest(*cells, fillvalue="")
        blocks.append("\n".join(BETWEEN.join(f"{x:<{each}}" for x in row).rstrip() for row in rows))
    return "\n\n".join(blocks)


def _wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines of so many characters, its own lines kept."""
    lines = shown_lines(text).split("\n")
    return [part for line in lines for part in textwrap.wrap(line, width) or [""]]
