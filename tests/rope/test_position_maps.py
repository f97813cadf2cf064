"""Position maps: their distances, and regions that cover every pair of positions once."""

from __future__ import annotations

import pytest
import torch

from helpers import brute_force
from rope_eval import RopeSpec
from rope_eval.errors import SpecError
from rope_eval.rope import position_maps as maps
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.methods import METHODS, not_served
from rope_eval.rope.position_maps import PositionMap
from rope_eval.rope.rotary import Rotary

T, S = torch.tensor([512, 1023, 5000, 16383]), torch.tensor([0, 0, 3, 0])
VALUES: list[tuple[PositionMap, list[float]]] = [
    (maps.rerope(512), [512, 512, 512, 512]),
    (maps.leaky_rerope(512, 16), [512, 543.9375, 792.3125, 1503.9375]),
    (maps.self_extend(1024, 8), [512, 1023, 1521, 2943]),
    (maps.self_extend(1000, 16), [512, 1001, 1250, 1961]),
    (maps.Chunked(2560, 3072), [512, 1023, 3069, 3072]),
    (maps.string(1352, 128), [512, 1023, 3773, 15159]),
]
SMALL: list[PositionMap] = [
    *(maps.rerope(w) for w in (1, 2, 5, 16, 40)),
    maps.leaky_rerope(7, 2.5),
    maps.self_extend(8, 4),
    maps.string(6, 2),
    maps.string(9, 9),
    *(maps.Chunked(*sizes) for sizes in ((1, 1), (4, 4), (5, 6), (8, 15), (10, 17), (64, 76))),
]
METHODS_OF_MAPS = [method for method in METHODS if method.maps_positions]
GEOMETRY = RotaryGeometry(head_dim=16, rotary_dim=16, rope_theta=10000.0, train_length=32)


@pytest.mark.parametrize(("position_map", "values"), VALUES)
def test_distances_are_the_authors(position_map: PositionMap, values: list[float]) -> None:
    assert position_map.rel(T, S).tolist() == values


@pytest.mark.parametrize("block", [1, 2, 3, 256])
@pytest.mark.parametrize("number", range(len(SMALL)))
def test_regions_cover_every_pair_once(
    number: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "LONGEST_BLOCK", block)
    position_map, last = SMALL[number], 61
    every = torch.arange(last)
    expected = position_map.rel(every[:, None], every).tril()
    for start in (0, 1, 6, 17, 60):
        times = torch.zeros(last, last)
        found = torch.zeros(last, last, dtype=torch.float64)
        for regions in position_map.blocks(start, last):
            a, b = regions[0].queries
            assert regions[0].shape == "causal" and regions[0].keys == (a, b)
            for region in regions:
                t, s = (torch.arange(*x) for x in (region.queries, region.keys))
                assert len(t) and len(s) and a <= t[0] and t[-1] < b
                assert region.shape == "full" or len(t) == len(s)
                q = position_map.q_maps[region.q_map](t.double())
                k = position_map.k_maps[region.k_map](s.double())
                seen = torch.ones(len(t), len(s))
                if region.shape != "full":
                    seen = seen.tril() if region.shape == "causal" else seen.triu()
                times[t[0] : t[-1] + 1, s[0] : s[-1] + 1] += seen
                found[t[0] : t[-1] + 1, s[0] : s[-1] + 1] += (q[:, None] - k) * seen
        assert torch.equal(times[start:], torch.ones(last, last).tril()[start:])
        assert torch.allclose(found[start:], expected[start:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("number", range(len(SMALL)))
def test_a_map_is_exact_as_far_as_it_says(number: int) -> None:
    position_map = SMALL[number]
    every = torch.arange(200)
    distance = every[:, None] - every
    same = (position_map.rel(every[:, None], every) == distance).tril() | (distance < 0)
    changed = (~same.all(1)).nonzero()[:, 0]
    if len(changed):
        assert int(changed[0]) == position_map.exact
    else:
        assert position_map.exact > 190


@pytest.mark.parametrize("text", [text for m in METHODS_OF_MAPS for text in m.examples])
def test_the_brute_force_has_the_same_distances(text: str) -> None:
    spec = RopeSpec.parse(text)
    position_map = Rotary(spec, GEOMETRY).position_map
    assert position_map is not None
    for t in (0, 15, 16, 17, 33, 200):
        expected = brute_force.mapped_distances(spec, t)
        assert expected is not None
        found = position_map.rel(torch.tensor(t), torch.arange(t + 1))
        assert torch.allclose(found, torch.from_numpy(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS_OF_MAPS, ids=lambda method: method.name)
def test_what_a_map_cannot_be_combined_with(method: object) -> None:
    text = method.examples[0]  # type: ignore[attr-defined]
    first = text.split("=")[0]
    for other in ("xpos=true", "beyond_critical=clip"):
        with pytest.raises(SpecError, match=f"{first}=.* cannot be combined with {other[:4]}"):
            RopeSpec.parse(f"{text},{other}")
    other = "rerope_window=8" if first != "rerope_window" else "string_shift=8"
    with pytest.raises(SpecError, match="both map the positions"):
        RopeSpec.parse(f"{text},{other}")
    RopeSpec.parse(f"{text},log_scale=true,dynamic_ntk=per_query,yarn_factor=1,rope_theta=500")
    reason = not_served(RopeSpec.parse(text))
    assert reason is not None and reason.setting.startswith(first)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("self_extend_window=10,self_extend_group=4", "must be a multiple"),
        ("self_extend_group=4", "self_extend_group=4 has no meaning without self_extend_window"),
        ("leaky_rerope_factor=4", "no meaning without leaky_rerope_window"),
        ("string_window=4", "no meaning without string_shift"),
        ("dual_chunk_limit=4", "no meaning without dual_chunk_size"),
        ("string_shift=4,string_window=5", "must not exceed"),
        ("dual_chunk_size=8,dual_chunk_limit=7", "must be dual_chunk_size=8 or more"),
        ("rerope_window=0", "1 or more"),
        ("rerope_window=2.5", "whole number"),
    ],
)
def test_what_has_no_meaning_is_refused(text: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        RopeSpec.parse(text)
