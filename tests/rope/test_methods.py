"""The registry: what every method says of itself is what its numbers do."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rope_eval.errors import SpecError
from rope_eval.results.naming import _effective
from rope_eval.rope import methods
from rope_eval.rope.document import costs, measured, page
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.rotary import Rotary
from rope_eval.rope.spec import RopeSpec
from rope_eval.rope.values import Field, number

WORDS_OF_CONFIGS = {"attention_factor"}
ROOT = Path(__file__).parents[2]
GEOMETRY = RotaryGeometry(head_dim=16, rotary_dim=16, rope_theta=10000.0, train_length=32)
EXAMPLES = [text for method in methods.METHODS for text in method.examples]


def numbers(spec: RopeSpec) -> Iterator[Any]:
    """Everything that a setting changes at 200 tokens."""
    rotary = Rotary(spec, GEOMETRY)
    positions = torch.arange(200)
    for length in (1, 40, 200):
        yield from rotary.table(rotary.alpha(length), 200, torch.device("cpu"))
    yield rotary.query_scale(positions)
    yield rotary.pair_scale(positions)


def same_numbers(one: RopeSpec, other: RopeSpec) -> bool:
    return all(torch.equal(a, b) for a, b in zip(numbers(one), numbers(other), strict=True))


@pytest.mark.parametrize("text", EXAMPLES)
@pytest.mark.parametrize("length", ["train_length", "tune_length"])
def test_lengths_that_change_the_numbers_tell_results_apart(text: str, length: str) -> None:
    spec = RopeSpec.parse(text).replace(pretrain_theta=1e4)
    other = spec.replace(**{length: 64})
    if not same_numbers(spec, other):
        assert _effective(spec) != _effective(other)


@pytest.mark.parametrize("method", methods.METHODS, ids=lambda method: method.name)
def test_a_method_depends_on_the_lengths_that_it_names(method: Method) -> None:
    lengths = {"train_length": "train_length", "tune_length": "bound"}
    for length, need in lengths.items():
        depends = any(
            not same_numbers(spec, spec.replace(**{length: 64}))
            for text in method.examples
            for spec in [RopeSpec.parse(f"{text},pretrain_theta=10000")]
        )
        assert depends == (need in method.needs)


@pytest.mark.parametrize("text", EXAMPLES)
def test_what_a_setting_says_it_changes_is_what_changes(text: str) -> None:
    spec = RopeSpec.parse(text)
    rotary, plain = Rotary(spec, GEOMETRY), Rotary(RopeSpec(), GEOMETRY)
    alphas = [rotary.alpha(length) for length in (1, 40, 200)]
    frequencies = any(not torch.equal(rotary.inv_freq(a), plain.inv_freq()) for a in alphas)
    assert frequencies == spec.changes_frequencies
    assert (len(set(alphas)) > 1) == (spec.base_changes != "never")
    assert (rotary.schedule is None) == (spec.base_changes == "never")
    assert not spec.is_neutral


def test_a_schedule_changes_where_it_says() -> None:
    for text in EXAMPLES:
        schedule = Rotary(RopeSpec.parse(text), GEOMETRY).schedule
        if schedule is not None:
            for t in range(1, 300):
                assert schedule.end(t) >= t
                if math.isinf(schedule.end(t)):
                    assert schedule.alpha(10**9) == schedule.alpha(t)
                    break
                assert schedule.alpha(int(schedule.end(t))) == schedule.alpha(t)
                assert schedule.alpha(int(schedule.end(t)) + 1) > schedule.alpha(t)


def test_every_name_is_given_once() -> None:
    assert len({field.name for field in methods.FIELDS}) == len(methods.FIELDS)
    assert len({method.name for method in methods.REGISTRY}) == len(methods.REGISTRY)


def test_no_method_is_named_outside_its_file() -> None:
    names = {field.name for method in methods.METHODS for field in method.fields} - {"rope_theta"}
    places = [*(ROOT / "rope_eval" / "rope").glob("*.py")]
    places += (ROOT / "rope_eval" / "backends").rglob("*.py")
    for place in places:
        text = place.read_text(encoding="utf-8")
        named = set(re.findall(r"""(?:spec\.|["'`])(\w+)""", text)) & names
        assert not named - WORDS_OF_CONFIGS, place


def test_two_methods_of_the_same_thing_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fake(name: str, **about: Any) -> Method:
        field = Field(
            name=name, default=1.0, type=float, parse=number(least=1.0), says="", live=("", "")
        )
        return Method(
            name=name, says="", source="", fields=(field,), effect=lambda facts: Effect(), **about
        )

    class Setting:
        def __init__(self, *given: str):
            self.given = given

        def __getattr__(self, name: str) -> float:
            return 2.0 if name in self.given else 1.0

    made = [
        fake("list", frequencies="set"),
        fake("other", frequencies="set"),
        fake("scaled", frequencies="scale"),
        fake("base", frequencies="base"),
        fake("share", frequencies="mask"),
        fake("query"),
        fake("by_length", frequencies="scale", base_changes=lambda spec: "per_query"),
        fake("by_end", base_changes=lambda spec: "per_sequence"),
        fake("none", frequencies="off"),
    ]
    monkeypatch.setattr(methods, "METHODS", made)
    monkeypatch.setattr(methods, "REGISTRY", made)
    for one, other in (("list", "other"), ("list", "scaled"), ("list", "by_length")):
        with pytest.raises(SpecError, match=f"{one} cannot be combined with {other}: both set"):
            methods.check_combination(Setting(one, other))
    for other in ("list", "scaled", "base", "share"):
        with pytest.raises(SpecError, match=f"{other} cannot be combined with none: .* nothing ro"):
            methods.check_combination(Setting(other, "none"))
    methods.check_combination(Setting("query", "by_end", "none"))
    with pytest.raises(SpecError, match="by_length cannot be combined with by_end: both have"):
        methods.check_combination(Setting("by_length", "by_end"))
    methods.check_combination(Setting("list", "base", "share", "query", "by_end"))
    methods.check_combination(Setting("scaled", "by_length", "base", "share", "query"))


def test_the_cost_of_every_method_was_measured() -> None:
    text = (ROOT / "results" / "benchmarks" / "methods-cpu.json").read_text(encoding="utf-8")
    measured = json.loads(text)["methods"]
    assert set(measured) == {method.name for method in methods.METHODS}
    for name, by_setting in measured.items():
        for setting, ratios in by_setting.items():
            active = methods.active(RopeSpec.parse(setting))
            assert name in {method.name for method in active}
            assert all(0.5 < ratios[what] < 20 for what in ("scoring", "generation"))


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert written == page(measured(ROOT), costs(ROOT)) + "\n", (
        "python -m rope_eval.rope.document > docs/methods.md"
    )


def test_the_page_says_how_far_each_method_goes_alone() -> None:
    def run(setting: dict[str, object], *reaches: float, checkpoint: str = "m") -> dict[str, Any]:
        keeps, finds = ({"value": value, "longest": 4096} for value in reaches)
        return {
            "checkpoint": checkpoint,
            "setting": setting,
            "losses": {
                str(length): {"nll": {"value": math.log(perplexity)}}
                for length, perplexity in ((128, 3.694), (1024, 22.59), (4096, 30))
            },
            "keeps_perplexity_up_to": keeps,
            "finds_as_far_as": finds,
        }

    runs = [
        run({}, 181, 128),
        run({"yarn_factor": 8}, 4096, 724),
        run({"dynamic_yarn": "octave"}, 256, 0),
        run({"yarn_factor": 8, "resonance": True}, 512, 512),
        run({"yarn_factor": 4}, 512, 512, checkpoint="another"),
        run({"xpos": True}, 0, 0) | {"finds_as_far_as": None},
    ]
    text = page({"train_length": 128, "factor": 8, "methods": runs}, {})
    assert "measured on `m`" in text and "its T_train of 128 tokens\nand at 8 times" in text
    losses = "perplexity 3.69 → 22.6, kept"
    assert f"As trained:\n{losses} to ×1.4, needles to ×1." in text
    last = {
        row.split(" | ")[0]: row.split(" | ")[-1]
        for row in text[: text.index("## Fields")].split("\n")
    }
    assert last["| YaRN"] == (
        f"`yarn_factor=8`: {losses} to ×32 or more, needles to ×5.7; "
        f"`dynamic_yarn=octave`: {losses} to ×2, needles nowhere |"
    )
    assert last["| xPos"] == f"`xpos=True`: {losses} nowhere |"
    assert last["| Resonance"] == " |"
