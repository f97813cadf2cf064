"""Which layers take which part of a setting, without a model."""

from __future__ import annotations

import pytest

from rope_eval.errors import SpecError
from rope_eval.rope.by_layer import ByLayer
from rope_eval.rope.spec import RopeSpec

HOT = "attn_temperature=llama4"


def parts(text: str, layers: str) -> list[str]:
    """The part of each layer: of ``R`` and ``r`` that rotate, ``S`` and ``s`` that do not.

    Capitals see everything before, the others a window.
    """
    by_layer = ByLayer(
        RopeSpec.parse(text),
        count=len(layers),
        numbers=range(len(layers)),
        rotates=[one in "Rr" for one in layers],
        sees_all=[one.isupper() for one in layers],
    )
    return [str(by_layer.part(place)) for place in range(len(layers))]


BASE, NONE = "rope_theta=500", "neutral"


@pytest.mark.parametrize(
    ("text", "layers", "expected"),
    [
        (BASE, "RRRR", [BASE] * 4),
        (BASE, "RrRr", [BASE, NONE] * 2),
        (BASE, "rrss", [BASE, BASE, NONE, NONE]),
        (BASE, "RSRs", [BASE, NONE] * 2),
        (f"{BASE},nope_every=2", "RRRR", [f"{BASE},nope_every=2", NONE] * 2),
        (f"{BASE},nope_every=2", "RRRr", [f"{BASE},nope_every=2", NONE] * 2),
        (HOT, "RRrr", [HOT, HOT, NONE, NONE]),  # none without rotation: as any other method
        (HOT, "RSRs", [NONE, HOT, NONE, NONE]),
        (HOT, "RsRs", [HOT, NONE] * 2),  # none that takes it
        (f"{BASE},{HOT}", "RSRS", [BASE, HOT] * 2),
        (f"{HOT},nope_layers=0", "RRSr", [HOT, "nope_layers=0", HOT, NONE]),
        ("attn_temperature=ministral3", "RSRS", ["attn_temperature=ministral3", NONE] * 2),
    ],
)
def test_the_part_of_each_layer(text: str, layers: str, expected: list[str]) -> None:
    assert parts(text, layers) == expected


def test_layers_with_a_window_take_it_where_all_is_said() -> None:
    every = f"{BASE},layers=all"
    assert parts(every, "Rrs") == [every, every, NONE]
    assert parts(f"{HOT},layers=all", "RrsS") == ["layers=all"] * 2 + [f"{HOT},layers=all"] * 2
    assert parts("nope_layers=1,layers=all", "Rr")[1] == NONE
    with pytest.raises(SpecError, match=r"decoder layers 1 rotates .*\(layers=all has those with"):
        parts("nope_layers=1", "Rr")
    with pytest.raises(SpecError, match=r"decoder layers 1 rotates and takes the setting$"):
        parts("nope_layers=1,layers=all", "RS")
