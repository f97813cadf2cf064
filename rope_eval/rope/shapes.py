"""What a setting does, as plain numbers: the period of each pair, and the distances seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rope_eval.errors import SpecError
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.spec import RopeSpec


def periods(spec: RopeSpec, geometry: RotaryGeometry, *, length: int) -> list[float]:
    """Return the tokens in which each pair turns once, infinite for one that stands still.

    Args:
        spec: the setting.
        geometry: of the checkpoint.
        length: tokens of the sequence, or the last query's 1-based position, where the frequencies
            follow it.

    Raises:
        SpecError: the setting does not fit the checkpoint.
    """
    from rope_eval.rope.rotary import Rotary

    rotary = Rotary(spec, geometry)
    frequencies = rotary.inv_freq(rotary.alpha(length)).tolist()
    return [2 * math.pi / one if one else math.inf for one in frequencies]


def seen_distances(
    spec: RopeSpec, geometry: RotaryGeometry, *, query: int, distances: Sequence[int]
) -> list[float]:
    """Return the distances at which a query sees the keys that stand so far before it.

    Args:
        spec: a setting with a position map.
        geometry: of the checkpoint.
        query: the query's position, from 0.
        distances: of the keys, each at most `query`.

    Raises:
        SpecError: the setting maps no positions.
    """
    import torch

    from rope_eval.rope.rotary import Rotary

    position_map = Rotary(spec, geometry).position_map
    if position_map is None:
        raise SpecError(f"{spec} maps no positions: a query sees each key at its own distance")
    keys = torch.tensor([query - distance for distance in distances])
    seen: list[float] = position_map.rel(torch.tensor(query), keys).tolist()
    return seen
