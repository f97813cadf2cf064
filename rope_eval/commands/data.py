"""``rope-eval data pull``: fill a folder with the data sets of the tables, from the hub."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rope_eval.errors import DataError, RopeEvalError, SpecError, did_you_mean
from rope_eval.files import parse_json, read_small
from rope_eval.paths import write_whole
from rope_eval.safe_text import shown

CHECKSUMS = "checksums.json"
EPILOG = """\
examples:
  rope-eval data pull --output data
  rope-eval data pull --output data leval/tpo hellaswag
  rope-eval lm-eval --model scaling_rope --tasks rope_paper --metadata data_dir=data …

A data set that is there already is left as it is. checksums.json holds the SHA-256 of the rows of
each: equal digests are equal data, from the hub or from a folder.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``data`` and its subcommand ``pull``."""
    data = subparsers.add_parser("data", help="the data sets of the tables, in a folder")
    pull = data.add_subparsers(metavar="COMMAND", required=True).add_parser(
        "pull",
        help="fill a folder from the hub",
        description="Read the data sets of Tables 3 to 5 from the Hugging Face hub and write them "
        "as JSON lines, for machines that cannot reach it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pull.add_argument("names", nargs="*", metavar="NAME", help="data sets (default: all)")
    pull.add_argument("--output", type=Path, default=Path("data"), metavar="DIR", help="(data)")
    pull.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Pull what was asked for; what cannot be had is said at the end, with exit status 1.

    Raises:
        SpecError: for an unknown name.
    """
    from rope_eval.protocols.datasets import SOURCES

    for name in args.names:
        if name not in SOURCES:
            raise SpecError(f"there is no data set {name!r}.{did_you_mean(name, SOURCES)}")
    missing = []
    for name in args.names or SOURCES:
        try:
            said = _pull(name, args.output)
        except RopeEvalError as error:
            missing.append(name)
            said = f"not there: {error}"
        print(f"{name:<32}{shown(said)}")
    if missing:
        print(f"{len(missing)} of {len(args.names or SOURCES)} data sets could not be had")
    return 1 if missing else 0


def _pull(name: str, folder: Path) -> str:
    from rope_eval.protocols.datasets import digest, read

    file = folder / f"{name}.jsonl"
    if file.is_file():
        rows, said = read(name, folder), "was there"
    else:
        rows = read(name)
        text = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
        write_whole(file, text)
        said = "pulled"
    checksums = _checksums(folder / CHECKSUMS)
    checksums[name] = {"rows": len(rows), "sha256": digest(name, rows)}
    write_whole(folder / CHECKSUMS, json.dumps(checksums, indent=2, sort_keys=True) + "\n")
    return f"{said}: {len(rows)} rows, {checksums[name]['sha256'][:12]}"


def _checksums(record: Path) -> dict[str, Any]:
    if not record.is_file():
        return {}
    try:
        found = parse_json(read_small(record), str(record))
    except DataError as error:
        raise DataError(f"{error}. Delete it") from error
    if not isinstance(found, dict):
        raise DataError(f"{record}: want an object, got {type(found).__name__}. Delete it")
    return found
