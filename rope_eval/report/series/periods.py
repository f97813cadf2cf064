"""The period of each pair of dimensions under a setting: theory alone, of no run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.report.series.data import Axis, FigureData
from rope_eval.report.series.lines import table
from rope_eval.rope.config_form import spec_of_config
from rope_eval.rope.facts import Facts
from rope_eval.rope.geometry import RopeConfig
from rope_eval.rope.shapes import periods as periods_of
from rope_eval.rope.spec import RopeSpec

WITHIN = "within the training length"
SEEN = "longer, of a pair that turned fully in pre-training"
NEVER = "longer, of a pair that never turned fully"
COLUMNS = (
    "panel",
    "series",
    "pair",
    "dimension",
    "period",
    "setting",
    "length",
    "critical_dimension",
    "bound",
    "train_length",
)
"""Of the frame: ``period`` in tokens, infinite of a pair that stands still."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A model under a setting, at a length.

    Attributes:
        model: its directory, with a config.json.
        rope: the setting.
        length: tokens of the sequence, where the frequencies follow it; None for the training's.
    """

    model: Path
    rope: RopeSpec
    length: int | None = None


def periods(asked: Mapping[str, Asked]) -> FigureData:
    """Return the period of each pair, a panel each.

    Args:
        asked: by the title of the panel.

    Raises:
        DataError: a model's config.json cannot be read.
        SpecError: a setting that does not fit, or a training length that is not known.
    """
    rows = [row for panel, one in asked.items() for row in _pairs(panel, one)]
    return FigureData(
        kind="periods",
        mark="bars",
        title="Period of each pair of dimensions",
        frame=table(rows, COLUMNS),
        x=Axis(column="period", label="period, tokens", scale="length"),
        y=Axis(column="dimension", label="dimension"),
        series="series",
    )


def _pairs(panel: str, asked: Asked) -> Iterator[dict[str, Any]]:
    config = RopeConfig.read(asked.model)
    geometry, spec = config.geometry, asked.rope
    facts = Facts(spec, geometry)
    trained = int(facts.laws.tune_length.value or facts.train_length)
    try:
        critical: int | None = facts.critical_dimension
    except SpecError:
        critical = None
    if geometry.is_scaled:  # what the config says is a setting too, and the given stands beside it
        spec = RopeSpec.from_dict(spec_of_config(config).to_dict() | spec.to_dict())
        geometry = replace(geometry, rope_type="default")
    length = asked.length or trained
    for pair, period in enumerate(periods_of(spec, geometry, length=length)):
        yield {
            "panel": panel,
            "series": _kind(period, trained, seen=critical is not None and 2 * pair < critical),
            "pair": pair,
            "dimension": 2 * pair,
            "period": period,
            "setting": spec.label,
            "length": length,
            "critical_dimension": critical,
            "bound": facts.bound[0],
            "train_length": trained,
        }


def _kind(period: float, trained: int, *, seen: bool) -> str:
    return WITHIN if period <= trained else SEEN if seen else NEVER
