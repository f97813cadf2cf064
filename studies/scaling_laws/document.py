"""All findings of a laboratory: in a folder as Markdown, JSON and figures, and in the terminal.

::

    grid = find_grid("lab")
    laboratory = read_laboratory(open_measured(Path("results/lab"), grid), grid)
    found = find_all(laboratory)
    print(summary_table(found))
    write_findings(laboratory, folder, found)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from rope_eval.errors import DataError, StoreError
from rope_eval.report.figures import style
from studies.scaling_laws.claim import Finding, markdown_table
from studies.scaling_laws.claims import (
    attention,
    bases,
    beyond_critical,
    bound,
    critical_base,
    extending,
    methods,
    periods,
    pivots,
    retrieval,
    seeds,
)
from studies.scaling_laws.runs import Laboratory

CLAIMS: dict[str, Callable[[Laboratory], Finding]] = {
    "bases": bases.find,
    "bound": bound.find,
    "pivots": pivots.find,
    "critical-base": critical_base.find,
    "methods": methods.find,
    "attention": attention.find,
    "beyond-critical": beyond_critical.find,
    "periods": periods.find,
    "retrieval": retrieval.find,
    "extending": extending.find,
    "seeds": seeds.find,
}

SYMBOLS = {True: "yes", False: "no", None: "open: the interval has zero"}


def find_all(laboratory: Laboratory) -> tuple[Finding, ...]:
    """Return all findings; one that lacks its runs says so instead of having numbers."""
    return tuple(_found(laboratory, name) for name in CLAIMS)


def _found(laboratory: Laboratory, name: str) -> Finding:
    try:
        return CLAIMS[name](laboratory)
    except DataError as error:
        title = name.replace("-", " ").capitalize()
        return Finding(name=name, title=title, source="", claim="", missing=str(error))


def summary_table(found: Sequence[Finding]) -> str:
    """Return the findings as text for the terminal: verdict and main numbers."""
    rows = [[f.name, f.verdict, f.headline if f.missing is None else f.missing] for f in found]
    return tabulate(
        rows,
        headers=["finding", "verdict", "numbers"],
        maxcolwidths=[None, None, 76],
        disable_numparse=True,
    )


def verdict_table(found: Sequence[Finding]) -> str:
    """Return the verdicts as Markdown, a finding a row."""
    rows = [
        [
            f.title,
            f.source or "–",
            f.verdict,
            f"{sum(c.holds is True for c in f.checks)} of {len(f.checks)}" if f.checks else "–",
            f.headline if f.missing is None else f.missing,
        ]
        for f in found
    ]
    headers = ["finding", "claimed in", "verdict", "statements that hold", "numbers"]
    return markdown_table(headers, rows, left=len(headers))


def to_dict(laboratory: Laboratory, found: Sequence[Finding]) -> dict[str, Any]:
    """Return everything as plain JSON values."""
    return {
        "grid": laboratory.grid,
        "text": laboratory.text,
        "train_length": laboratory.train_length,
        "pretrain_theta": laboratory.pretrain_theta,
        "head_dim": laboratory.head_dim,
        "checkpoints": [c.name for c in laboratory.checkpoints],
        "failed_runs": list(laboratory.failed),
        "findings": {
            f.name: {
                "verdict": f.verdict,
                "missing": f.missing,
                "headline": f.headline,
                "checks": [{"statement": c.statement, "holds": c.holds} for c in f.checks],
                "numbers": f.numbers,
            }
            for f in found
        },
    }


def to_markdown(laboratory: Laboratory, found: Sequence[Finding]) -> str:
    """Return everything as Markdown, for the folder that the figures are in."""
    parts = [_failed(laboratory), *(_section(f) for f in found)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _failed(laboratory: Laboratory) -> str:
    lines = [f"- {line}" for line in laboratory.failed]
    return "\n".join(["Runs that failed, and are missing below:", "", *lines]) if lines else ""


def _section(finding: Finding) -> str:
    if finding.missing is not None:
        return f"## {finding.title}\n\nnot measured: {finding.missing}"
    checks = [f"| {c.statement} | {SYMBOLS[c.holds]} |" for c in finding.checks]
    parts = [
        f"## {finding.title}",
        f"The claim ({finding.source}): {finding.claim}",
        f"**Verdict: {finding.verdict}.** {finding.headline}.",
        *(f"![{p.shows}]({p.file})" for p in finding.pictures),
        *finding.tables,
    ]
    if checks:
        table = "\n".join(["| statement | holds |", "|:--|:--|", *checks])
        parts.append(f"What the verdict follows from:\n\n{table}")
    parts += [f"Measured on: {finding.basis}", *finding.definitions]
    return "\n\n".join(parts)


def write_findings(
    laboratory: Laboratory, folder: Path, found: Sequence[Finding] | None = None
) -> list[Path]:
    """Write figures, ``findings.json`` and ``findings.md`` to a folder, and return their paths.

    Args:
        laboratory: what was measured.
        folder: where they are written; made if it is not there, and files of the same names are
            replaced.
        found: the findings, where they are worked out already.

    Raises:
        StoreError: the folder cannot be written to.
    """
    found = find_all(laboratory) if found is None else found
    facts = json.dumps(_rounded(to_dict(laboratory, found)), ensure_ascii=False, allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for picture in (p for f in found for p in f.pictures):
            style.save(picture.draw(), folder / picture.file)
            written.append(folder / picture.file)
        for name, text in (
            ("findings.json", facts + "\n"),
            ("findings.md", to_markdown(laboratory, found)),
        ):
            (folder / name).write_text(text, encoding="utf-8")
            written.append(folder / name)
    except OSError as error:
        raise StoreError(
            f"cannot write to {folder}: {error.strerror or error}. Give another folder"
        ) from error
    return written


def _rounded(value: Any) -> Any:
    """Return JSON values with seven digits: all that sums in single precision have."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
