"""How a score was asked for: what two scores must have alike to be of one protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from rope_eval.protocols.perplexity import PerplexityProtocol
from rope_eval.results.run_file import Run

CONDITIONS = (
    "num_fewshot",
    "version",
    "chat_template",
    "system_instruction",
    "truncation",
    "probe",
    "dtype",
)
"""The columns of the frame with them; one that was not recorded is not there."""
NONE = "none"
_DIGITS = 8


def prompting(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of the texts that lm-eval puts around every prompt, by its record.

    What is null was not used; what is not there is not known.
    """
    texts = {
        name: record[name] for name in ("chat_template", "system_instruction") if name in record
    }
    return {name: _digest(text) if text else NONE for name, text in texts.items()}


def conditions(run: Run, task: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return how a run asked, by `CONDITIONS`.

    Args:
        run: the run.
        task: its record of a task; none for whole books.
    """
    dtype = run.results.get("dtype") or run.request.get("dtype")
    found = {"dtype": dtype or run.request.get("model_args", {}).get("dtype")}
    if task is not None:
        metadata = task["metadata"]
        cut = (metadata.get("truncation"), metadata.get("truncate_at"))
        found |= run.results.get("prompting", {}) | {
            "num_fewshot": task.get("num_fewshot"),
            "version": task.get("version"),
            "truncation": NONE if None in cut else f"{cut[0]} at {cut[1]}",
            "probe": _probe(metadata),
        }
    return {
        name: str(found[name]).removeprefix("torch.")
        for name in CONDITIONS
        if found.get(name) is not None
    }


def recorded(line: Mapping[str, Any]) -> dict[str, str]:
    """Return how a number of the frame was asked for, by `CONDITIONS`."""
    return {name: line[name] for name in CONDITIONS if line[name] is not None}


def unlike(run: Mapping[str, str], baseline: Mapping[str, str]) -> list[str]:
    """Say in what two scores were asked for otherwise, as far as both recorded it.

    >>> unlike({"num_fewshot": "0", "dtype": "float16"}, {"num_fewshot": "10"})
    ['num_fewshot 0 against 10']
    """
    return [
        f"{name} {run[name]} against {baseline[name]}"
        for name in CONDITIONS
        if name in run and name in baseline and run[name] != baseline[name]
    ]


def _probe(metadata: Mapping[str, Any]) -> str | None:
    """Return what a task of ours asked beside its lengths and samples, or None."""
    if "perplexity_protocol" in metadata:
        return PerplexityProtocol.of(metadata).label
    if "probe_seed" not in metadata:
        return None
    depths = metadata.get("depths", [])
    parts = {
        "depths": " ".join(map(str, depths if isinstance(depths, list) else [depths])),
        "facts": metadata.get("facts"),
        "seed": metadata["probe_seed"],
        "filler": str(metadata.get("filler_sha256", metadata.get("filler")))[:_DIGITS],
    }
    return ", ".join(f"{name} {value}" for name, value in parts.items())


def _digest(text: Any) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()[:_DIGITS]
