"""``rope-eval store``: the runs, checked, cleaned, and written out as one frame."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rope_eval.commands.options import add_shared
from rope_eval.files import Place
from rope_eval.safe_text import shown
from rope_eval.terminal import remark, say

if TYPE_CHECKING:
    from rope_eval.results.store import Entry, Store

EPILOG = """\
examples:
  rope-eval store verify              # every run: ok, or damaged: then exit 1
  rope-eval store sweep --dry-run     # what killed writers left behind
  rope-eval store export -o runs.csv  # every number in a row of its own
  rope-eval store export --format parquet -o runs.parquet --results results/runs
"""
VERIFY = """\
examples:
  rope-eval store verify
  rope-eval store verify --results old/runs --json

Damaged: score it again with --force, import it again, or delete it. Foreign: not written by
rope-eval; every command leaves it out.
"""
SWEEP = """\
examples:
  rope-eval store sweep --dry-run
  rope-eval store sweep
  rope-eval store sweep --older-than 0        # no writer is at work: take all

A leftover younger than --older-than may be a run that is being written, and is kept; the claims of
a plan's processes go where these are dead.
"""
EXPORT = """\
examples:
  rope-eval store export -o runs.csv
  rope-eval store export --intervals -o runs.csv
  rope-eval store export --items -o items.parquet   # each document and item by itself
  rope-eval store export --format parquet -o runs.parquet
  rope-eval store export --format inspect -o logs && inspect view --log-dir logs

A row is one number: of a run, a task or set of books, a metric and a length. docs/store.md names
the columns. In CSV a text that a spreadsheet would take for a formula has ' before it.
For Inspect's viewer (pip install 'rope-eval[inspect]') each task of a run with samples is a log.
"""
FORMATS = ("csv", "parquet", "inspect")


def open_store(folder: Place | None) -> Store:
    """Return the store of a command; what it leaves out is a line each on standard error."""
    from rope_eval.results.store import DEFAULT_ROOT, Store

    return Store(
        folder or DEFAULT_ROOT,
        on_bad=lambda entry: remark(f"rope-eval: left out: {entry}"),
    )


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "store",
        help="check the runs, sweep leftovers, export every number",
        description="Look after the folder of runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    jobs = parser.add_subparsers(metavar="JOB", required=True)
    for name, job, text, epilog in (
        ("verify", verify, "read every run whole, and say which are damaged", VERIFY),
        ("sweep", sweep, "remove what killed writers left behind", SWEEP),
        ("export", export, "write every number as CSV or parquet, or logs of Inspect", EXPORT),
    ):
        one = jobs.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add = one.add_argument
        add_shared(one, "--results")
        if name == "sweep":
            add("--dry-run", action="store_true", help="only say what would be removed")
            minutes = "of a file that may still be written (default: 10)"
            add("--older-than", type=float, default=10.0, metavar="MINUTES", help=minutes)
        if name == "export":
            add("--format", choices=FORMATS, help="(default: by the file's name, else csv)")
            add("--intervals", action="store_true", help="with the 95 %% interval of each number")
            add("--items", action="store_true", help="what numbers are made of, a row an item")
            add(
                "-o",
                "--output",
                type=Path,
                required=True,
                metavar="FILE",
                help="for inspect a folder",
            )
        add("--json", action="store_true", help="print JSON")
        one.set_defaults(run=job)


def verify(args: argparse.Namespace) -> int:
    """Print every entry and its state; return 1 if one is damaged.

    Raises:
        DataError: there is no such folder.
        StoreError: it cannot be read.
    """
    store = existing_store(args.results)
    entries = [*store.entries(), *store.documents.entries()]
    found = Counter(entry.state for entry in entries)
    if args.json:
        facts = [{"file": str(e.path), "state": e.state, "why": e.why} for e in entries]
        print(json.dumps({"entries": facts, "count": dict(found)}, indent=2))
    else:
        for entry in entries:
            say(_line(entry))
        print(", ".join(f"{n} {state}" for state, n in sorted(found.items())) or "no runs")
    return 1 if found["damaged"] else 0


def sweep(args: argparse.Namespace) -> int:
    """Remove leftovers, and say which; return the exit status.

    Raises:
        SpecError: minutes below zero.
        DataError: there is no such folder.
        StoreError: it cannot be read, or a file not removed.
    """
    from rope_eval.errors import SpecError
    from rope_eval.plans.remote_claims import claims_of

    if not args.older_than >= 0:
        raise SpecError(f"--older-than must be 0 or more minutes, got {args.older_than}")
    store = existing_store(args.results)
    removed, kept = store.sweep(older_than=60 * args.older_than, dry_run=args.dry_run)
    dead, alive = claims_of(store).sweep(dry_run=args.dry_run)
    if args.json:
        removed, kept = removed + dead, kept + alive
        lists = {"removed": list(map(str, removed)), "kept": list(map(str, kept))}
        print(json.dumps({"dry_run": args.dry_run} | lists, indent=2))
        return 0
    for path in removed + dead:
        print(f"{shown(path)}: {'would be removed' if args.dry_run else 'removed'}")
    for path in kept:
        young = f"not known to be older than {args.older_than:g} minutes: it may be being written"
        print(f"{shown(path)}: kept, {young}")
    for path in alive:
        print(f"{shown(path)}: kept, a plan's process is at this unit")
    if not (removed or kept or dead or alive):
        print("no leftovers")
    return 0


def export(args: argparse.Namespace) -> int:
    """Write the frame of the store; return the exit status.

    Raises:
        DataError: there is no such folder, or the file cannot be written; no samples for Inspect.
        SpecError: for items with intervals, or as logs.
        StoreError: the folder cannot be read.
    """
    from rope_eval.errors import DataError, SpecError
    from rope_eval.files import check_output
    from rope_eval.results.items import items
    from rope_eval.results.tidy import for_spreadsheets, frame

    if args.items and (args.intervals or args.format == "inspect"):
        raise SpecError("--items are csv or parquet, without intervals: leave out the one or other")
    store = existing_store(args.results)
    if args.format == "inspect":
        return _inspect(store, args)
    check_output(args.output)
    table = items(store) if args.items else frame(store, intervals=args.intervals)
    style = args.format or ("parquet" if args.output.suffix == ".parquet" else "csv")
    try:
        if style == "csv":
            for_spreadsheets(table).to_csv(args.output, index=False)
        else:
            table.to_parquet(args.output, index=False)
    except OSError as error:
        raise DataError(f"cannot write {args.output}: {error.strerror or error}") from error
    facts = {"file": str(args.output), "rows": len(table), "runs": int(table["key"].nunique())}
    if args.json:
        print(json.dumps(facts))
        return 0
    what = "rows" if args.items else "numbers"
    print(f"{facts['rows']} {what} of {facts['runs']} runs are in {shown(args.output)}")
    return 0


def _inspect(store: Store, args: argparse.Namespace) -> int:
    """Write the logs; return the exit status."""
    from rope_eval.results.inspect_logs import export_inspect

    files = export_inspect(store, args.output)
    print(
        json.dumps({"files": list(map(str, files))})
        if args.json
        else f"{len(files)} logs are in {shown(args.output)}: inspect view --log-dir "
        f"{shown(args.output)}"
    )
    return 0


def existing_store(folder: Place | None) -> Store:
    """Return the store of a command that reads; a folder that is not there is a `DataError`."""
    from rope_eval.errors import DataError

    store = open_store(folder)
    if not store.folder.exists():
        raise DataError(f"there is no folder of runs at {store.root}: give it as --results DIR")
    return store


def _line(entry: Entry) -> str:
    if entry.run is None:
        return str(entry)
    run = entry.run
    named = (run.request.get(name) for name in ("model", "checkpoint"))
    made = (run.provenance.get(name) for name in ("document", "part"))
    what = f"{run.kind} {next(filter(None, (*named, *made)), '')}".strip()
    return shown(f"{entry.path}: ok: {what}{', failed: ' + str(run.error) if run.error else ''}")
