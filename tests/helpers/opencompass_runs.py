"""Runs the command lines of OpenCompass and lm-eval as a user would, and reads what they wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TIMEOUT = 1800  # seconds; a minute on a machine that has nothing else to do
QUIET = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def start(folder: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """Start a command of this environment in a folder."""
    return subprocess.Popen(
        [str(BIN / words[0]), *words[1:]],
        cwd=folder,
        env=os.environ | QUIET | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Return what a command wrote; it must have ended well."""
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, output
    return output


@dataclass(frozen=True, kw_only=True, slots=True)
class Hosts:
    """What both hosts made of the same files with the same model.

    Attributes:
        folder: where they ran, the store in results/runs.
        predictions: OpenCompass's, by task, in the order of the items.
        results: OpenCompass's scores and items, by data set.
        samples: lm-eval's, by task, in the order of the items.
        scores: lm-eval's, by task.
    """

    folder: Path
    predictions: dict[str, list[dict[str, Any]]]
    results: dict[str, dict[str, Any]]
    samples: dict[str, list[dict[str, Any]]]
    scores: dict[str, dict[str, Any]]


def read(folder: Path) -> Hosts:
    """Return what both wrote below a folder: OpenCompass into out, lm-eval into lm."""
    predictions = {
        file.stem: [item for _, item in sorted(_json(file).items(), key=lambda pair: int(pair[0]))]
        for file in folder.glob("out/*/predictions/*/*.json")
    }
    results = {file.stem: _json(file) for file in folder.glob("out/*/results/*/*.json")}
    samples = {}
    for file in folder.glob("lm/*/samples_*.jsonl"):
        lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        task = file.name.removeprefix("samples_").rpartition("_")[0]
        samples[task] = sorted(lines, key=lambda sample: sample["doc_id"])
    (record,) = folder.glob("lm/*/results_*.json")
    return Hosts(
        folder=folder,
        predictions=predictions,
        results=results,
        samples=samples,
        scores=_json(record)["results"],
    )


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
