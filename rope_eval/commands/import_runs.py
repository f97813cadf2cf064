"""``rope-eval import``: what plain lm_eval wrote, brought into the store."""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from pathlib import Path

from rope_eval.commands.options import add_shared
from rope_eval.safe_text import shown
from rope_eval.terminal import remark

EPILOG = """\
examples:
  lm_eval --model hf --model_args pretrained=DIR --tasks piqa --output_path out --log_samples
  rope-eval import out
  rope-eval import out --row llama2-7b/base-500
  rope-eval import out/mine.json                    # of --output_path out/mine.json

A file that is no results file of lm_eval, or not whole, is named on standard error and left out.
With --log_samples a comparison can pair the items of two runs. The same files are the same run:
importing them again changes nothing.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "import",
        help="bring results of lm_eval --output_path into the store",
        description="Read every results_*.json below a folder, of any model, with the samples "
        "beside it, and keep each as a run.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("path", type=Path, metavar="PATH", help="what lm_eval had as --output_path")
    add("--row", metavar="NAME", help="the row of the catalogue that the scores belong to")
    add_shared(parser, "--results", "--json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Import what is there, and say what came in; return the exit status.

    Raises:
        DataError: for no results, or none that can be read, or an unknown row.
        StoreError: for a store that cannot be written.
    """
    from rope_eval import catalogue
    from rope_eval.errors import StoreError
    from rope_eval.results.imports import read_lm_eval
    from rope_eval.results.store import DEFAULT_ROOT, Run, Store

    if args.row is not None:
        catalogue.find(args.row)
    store = Store(args.results or DEFAULT_ROOT)
    facts = []
    for imported in read_lm_eval(args.path, args.row, on_bad=_left_out):
        older: Run | None = None
        with suppress(StoreError):  # a damaged one gives way
            older = store.get(imported.run.key)
        moved = older is not None and args.row not in (None, older.results["row"])
        run = store.put(imported.run, imported.arrays, replace=moved)
        tasks = run.results["tasks"]
        facts.append(
            {
                "key": run.key,
                "new": older is None,
                "model": run.request["model"],
                "row": run.results["row"],
                "protocols": run.results["protocols"],
                "tasks": len(tasks),
                "tasks_with_samples": sum(bool(task["samples"]) for task in tasks.values()),
            }
        )
    if args.json:
        print(json.dumps(facts, indent=2))
        return 0
    for fact in facts:
        print(
            f"{fact['key']}  {'new  ' if fact['new'] else 'known'}  "
            f"{shown(fact['row'] or fact['model'])}"
            f"  {fact['tasks']} task{'' if fact['tasks'] == 1 else 's'}, "
            f"{fact['tasks_with_samples']} with samples"
        )
    return 0


def _left_out(error: Exception) -> None:
    remark(f"rope-eval: left out: {error}")
