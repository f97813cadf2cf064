"""``rope-eval report``: one page about a plan, or a folder of runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rope_eval.commands.options import add_shared
from rope_eval.safe_text import shown

if TYPE_CHECKING:
    from rope_eval.plans.plan import Plan

EPILOG = """\
examples:
  rope-eval report plan.yaml -o report.html     # one file that needs no network
  rope-eval report --results results/runs -o report.html
  rope-eval report plan.yaml --format markdown  # for a pull request

Of a plan the page has its runs; with --all whatever the store holds of its models under its
settings. Figures need plotly: pip install 'rope-eval[report]'.
"""
FORMATS = ("html", "markdown")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "report",
        help="one page: what was run, proven and failed; scores, figures",
        description="Write one page about a plan or a folder of runs, to show to others.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("plan", type=Path, nargs="?", metavar="PLAN", help="a YAML file; default: the whole store")
    add("-o", "--output", type=Path, metavar="FILE", help="to write (markdown: default to print)")
    add("--format", choices=FORMATS, help="(default: by the file's name, else html)")
    add("--all", action="store_true", help="of a plan's models and settings all runs, not its own")
    add("--no-figures", action="store_true", help="a page without figures, and without plotly")
    add_shared(parser, "--results", help="where runs are kept (default: the plan's, results/runs)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the page; return the exit status.

    Raises:
        RopeEvalError: for a plan that makes no sense, a store that cannot be read, or a file that
            cannot be written.
    """
    from rope_eval.commands.store import existing_store
    from rope_eval.errors import SpecError
    from rope_eval.files import check_output
    from rope_eval.paths import write_whole
    from rope_eval.report.page.build import page_of
    from rope_eval.report.page.findings import find
    from rope_eval.report.page.html import html_of
    from rope_eval.report.page.markdown import markdown_of

    plan = None if args.plan is None else _plan(args.plan)
    folder = args.results or (plan.results if plan else None)
    is_markdown = args.output is not None and args.output.suffix in (".md", ".markdown")
    style = args.format or ("markdown" if is_markdown else "html")
    if style == "html" and args.output is None:
        raise SpecError("give the page a place with -o report.html, or print --format markdown")
    if args.output is not None:
        check_output(args.output)
    if args.all and plan is None:
        raise SpecError("--all goes with a plan: without one the page has the whole store")
    page = page_of(find(existing_store(folder), plan, others=args.all))
    text = markdown_of(page) if style == "markdown" else html_of(page, figures=not args.no_figures)
    if args.output is None:
        print(text)
        return 0
    write_whole(args.output, text)
    print(f"{shown(args.output)}: {len(text.encode()):,} bytes. {shown(page.verdict)}")
    return 0


def _plan(file: Path) -> Plan:
    from rope_eval.plans.plan import Plan

    return Plan.read(file)
