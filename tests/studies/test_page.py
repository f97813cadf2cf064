"""The laboratory's pages say what the measurements in the repository say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rope_eval.results.identity import model_fingerprint
from studies.scaling_laws.document import find_all, to_markdown, verdict_table, write_findings
from studies.scaling_laws.measured import Measured
from studies.scaling_laws.reading import read_laboratory
from studies.scaling_laws.recipes.grids import GRIDS, SHIPPED
from studies.scaling_laws.runs import Laboratory
from studies.scaling_laws.tables import read_tables

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "laboratory"


@pytest.fixture(scope="module")
def tables() -> Measured:
    return read_tables(ROOT / "results" / "lab")


@pytest.fixture(scope="module")
def laboratory(tables: Measured) -> Laboratory:
    return read_laboratory(tables, GRIDS["lab"])


@pytest.fixture(scope="module")
def found(laboratory: Laboratory) -> Any:
    return find_all(laboratory)


def test_what_was_measured_is_what_is_shipped(tables: Measured) -> None:
    fingerprints = {run.checkpoint: run.request["fingerprint"] for run in tables.runs}
    for name in SHIPPED:
        assert fingerprints[name] == model_fingerprint(ROOT / "model_configs" / "lab" / name)


def test_no_machine_is_named_in_the_tables(tables: Measured) -> None:
    for run in tables.runs:
        text = json.dumps([run.request, run.results, run.provenance])
        assert not any(root in text for root in ("/home", "/root", "/tmp", "/usr"))
        assert "-dirty" not in text
        assert run.provenance["git_commit"]


def test_every_finding_was_measured(found: Any) -> None:
    assert [finding.name for finding in found if finding.missing is not None] == []


def test_the_pages_are_those_of_the_store(laboratory: Laboratory, found: Any) -> None:
    again = "make them again: rope-eval lab show --output docs/laboratory"
    written = (FOLDER / "findings.md").read_text(encoding="utf-8")
    assert to_markdown(laboratory, found) == written, again
    page = (ROOT / "docs" / "laboratory.md").read_text(encoding="utf-8")
    assert verdict_table(found) in page, again
    for picture in (p for finding in found for p in finding.pictures):
        assert f"laboratory/{picture.file}" in page
        assert (FOLDER / picture.file).is_file()


def test_the_numbers_are_those_of_the_store(
    laboratory: Laboratory, found: Any, tmp_path: Path
) -> None:
    write_findings(laboratory, tmp_path, found)
    new, old = (
        json.loads((folder / "findings.json").read_text(encoding="utf-8"))
        for folder in (tmp_path, FOLDER)
    )
    assert new == old
