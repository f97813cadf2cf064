"""What a run's record says of its proof, in words: that the setting was applied to these weights.

The record is `rope_eval.backends.hf.proof`'s, or `rope_eval.scoring.engine_proof`'s of an engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rope_eval.report.page.model import Cell


def proof_cell(record: Any) -> Cell:
    """Return whether it was proven, and by which numbers."""
    if record is None:
        return Cell(text="not recorded", state="warn")
    if not isinstance(record, Mapping):
        text = str(record)
        return Cell(text=text, state="warn" if text == "off" else "bad")
    if "workers" in record:
        return _of_engine(record)
    moves = record.get("moves", {})
    notes = (
        f"the neutral setting is the stock model to {_nats(record.get('neutral'))}",
        f"each layer's attention is the model's own to {_plain(record.get('layers'))}",
        *(f"{name} moves a score by {_nats(by)}" for name, by in moves.items()),
    )
    return Cell(text="proven", notes=notes, state="good")


def _of_engine(record: Mapping[str, Any]) -> Cell:
    layers = f"its workers answered with the setting {record['workers']}"
    layers += f", in {record['layers']} layers" if record.get("layers") else ""
    reference = record.get("reference")
    if not isinstance(reference, Mapping):
        return Cell(text="set", notes=(layers, f"reference: {reference}"), state="warn")
    notes = (
        layers,
        f"scores differ from the reference's by {_nats(reference.get('difference'))}",
        f"the setting moves a score by {_nats(reference.get('moves'))}",
    )
    return Cell(text="proven", notes=notes, state="good")


def _nats(value: Any) -> str:
    return f"{_plain(value)} nats"


def _plain(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, int | float) else str(value)
