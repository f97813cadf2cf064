"""The methods of the field against transformers, and against numbers of the authors' own code."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.utils import simple_parse_args_string
from torch import Tensor
from torch.testing import assert_close
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from rope_eval.errors import SpecError
from rope_eval.results.identity import run_key
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.methods import METHODS
from rope_eval.rope.rotary import Rotary
from rope_eval.rope.spec import RopeSpec

LLAMA2 = RotaryGeometry(head_dim=128, rotary_dim=128, rope_theta=10000.0, train_length=4096)
SHORT = ":".join(f"{1 + n / 100:g}" for n in range(64))
LONG = ":".join(str(1 + n) for n in range(64))


def rotary(text: str, geometry: RotaryGeometry = LLAMA2) -> Rotary:
    return Rotary(RopeSpec.parse(text), geometry)


def theirs(kind: str, length: int | None = None, **parameters: Any) -> tuple[Tensor, float]:
    """What transformers computes from a config with these rope_parameters."""
    longest = parameters.pop("longest", 131072)
    config = LlamaConfig(
        head_dim=128,
        max_position_embeddings=longest,
        rope_parameters={"rope_type": kind, "rope_theta": 10000.0, **parameters},
    )
    inv_freq, factor = ROPE_INIT_FUNCTIONS[kind](config, seq_len=length)
    return inv_freq.double(), factor


def assert_same(found: Rotary, expected: tuple[Tensor, float], alpha: float = 1.0) -> None:
    assert_close(found.inv_freq(alpha), expected[0], rtol=5e-6, atol=0)
    assert found.attention_factor(alpha) == pytest.approx(expected[1], rel=1e-12)


# ---- against transformers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "low", "high", "length"),
    [(8.0, 1.0, 4.0, 8192), (32.0, 1.0, 4.0, 8192), (4.0, 2.0, 9.0, 2048), (3.0, 0.5, 1.5, 4096)],
)
def test_llama3(factor: float, low: float, high: float, length: int) -> None:
    text = f"llama3_factor={factor},low_freq_factor={low},high_freq_factor={high}"
    expected = theirs(
        "llama3",
        factor=factor,
        low_freq_factor=low,
        high_freq_factor=high,
        original_max_position_embeddings=length,
    )
    assert_same(rotary(f"{text},train_length={length}"), expected)


@pytest.mark.parametrize(
    "fields",
    [
        {"beta_fast": 20.0, "beta_slow": 2.5},
        {"yarn_truncate": False},
        {"beta_fast": 64.0, "yarn_truncate": False},
        {"mscale": 0.707, "mscale_all_dim": 0.707},
        {"mscale": 2.0, "mscale_all_dim": 0.5},
        {"attention_factor": 1.7},
    ],
)
def test_yarn_with_every_parameter(fields: dict[str, Any]) -> None:
    words = {name.removeprefix("yarn_"): value for name, value in fields.items()}
    expected = theirs("yarn", factor=40.0, original_max_position_embeddings=4096, **words)
    assert_same(Rotary(RopeSpec(yarn_factor=40.0, **fields), LLAMA2), expected)


@pytest.mark.parametrize("length", [4096, 4097, 5000, 16384, 100_000])
def test_dynamic_yarn_is_yarn_with_the_factor_of_the_length(length: int) -> None:
    factor = length / 4096
    expected = theirs("yarn", factor=factor, original_max_position_embeddings=4096)
    found = rotary("dynamic_yarn=continuous")
    assert_same(found, expected, found.alpha(length))
    found = rotary("dynamic_yarn=octave")
    assert found.alpha(length) == 2 ** math.ceil(math.log2(factor))


@pytest.mark.parametrize("length", [100, 4096, 4097, 131072])
def test_longrope(length: int) -> None:
    found = rotary(f"longrope_factors={SHORT}/{LONG},longrope_ratio=32")
    expected = theirs(
        "longrope",
        length,
        short_factor=[1 + n / 100 for n in range(64)],
        long_factor=[1.0 + n for n in range(64)],
        original_max_position_embeddings=4096,
    )
    assert_same(found, expected, found.alpha(length))
    given = rotary(f"longrope_factors={SHORT}/{LONG},longrope_ratio=32,attention_factor=1.5")
    assert given.attention_factor(found.alpha(length)) == 1.5


@pytest.mark.parametrize("length", [100, 5000])
def test_the_first_tokens_of_longrope_are_as_they_were(length: int) -> None:
    text = f"longrope_factors={SHORT}/{LONG}"
    kept, without, plain = (rotary(x) for x in (f"{text},longrope_kept=8", text, ""))
    alpha, cpu = kept.alpha(length), torch.device("cpu")
    for found, other, own in zip(
        kept.table(alpha, 50, cpu),
        without.table(alpha, 50, cpu),
        plain.table(1.0, 8, cpu),
        strict=True,
    ):
        assert_close(found[:8], own, rtol=0, atol=1e-7)
        assert torch.equal(found[8:], other[8:])
        assert not torch.allclose(found[1:8], other[1:8], atol=1e-3)
    assert rotary(f"longrope_factors={LONG},longrope_kept=8").effective_from == {
        "longrope_factors": 10,
        "longrope_kept": 10,
    }
    assert rotary(f"longrope_factors={LONG}").effective_from == {"longrope_factors": 3}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("beyond_critical=clip", "longrope_kept cannot be combined with beyond_critical=clip"),
        ("resonance=true", "longrope_kept cannot be combined with resonance"),
        ("rerope_window=512", "rerope_window=512 cannot be combined with longrope_kept"),
        ("train_length=8", "longrope_kept must be less than the original length, 8, got 8"),
    ],
)
def test_what_the_first_tokens_would_keep_must_be_clear(more: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        rotary(f"longrope_factors={SHORT}/{LONG},longrope_kept=8,{more}")


@pytest.mark.parametrize(("share", "factor"), [(0.75, 1.0), (0.25, 1.0), (0.5, 8.0)])
def test_p_rope_is_proportional(share: float, factor: float) -> None:
    expected = theirs("proportional", partial_rotary_factor=share, factor=factor)
    assert_same(rotary(f"rotated_share={share},linear_factor={factor}"), expected)


# ---- check values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "length", "values"),
    [
        ("", 1, {10: 2.371373706e-1, 40: 3.162277660e-3}),
        (f"longrope_factors={SHORT}/{LONG}", 4096, {10: 2.155794e-1, 40: 2.258770e-3}),
        (f"longrope_factors={SHORT}/{LONG}", 4097, {10: 2.155794e-2, 40: 7.712872e-5}),
        (f"longrope_factors={LONG}", 1, {10: 2.155794e-2, 40: 7.712872e-5}),
        ("cope=20", 1, {43: 10 ** (-4 * 43 / 64), 44: 1.778279e-3, 50: 5.800237e-4, 63: 0}),
        ("cope=20", 1, {62: 9.0937e-7}),
        ("hard_clip=20", 1, {43: 10 ** (-4 * 43 / 64), 44: 0, 63: 0}),
        ("drope=true", 1, {0: 0, 63: 0}),
        ("resonance=true", 1, {10: 2.416609734e-1, 40: 3.162146607e-3}),
        (
            "dynamic_ntk=per_sequence,ntk_formula=qwen,train_length=2048",
            4097,
            {10: 1.741235264e-1, 40: 9.192419088e-4},
        ),
        (
            "dynamic_ntk=per_sequence,reference_length=2048",
            4097,
            {10: 1.749659065e-1, 40: 9.371599596e-4},
        ),
    ],
)
def test_check_values(text: str, length: int, values: dict[int, float]) -> None:
    found = rotary(text)
    inv_freq = found.inv_freq(found.alpha(length))
    for n, value in values.items():
        assert float(inv_freq[n]) == pytest.approx(value, rel=1e-5, abs=0), n


def test_longropes_attention_factor() -> None:
    found = rotary(f"longrope_factors={SHORT}/{LONG},longrope_ratio=32")
    assert found.attention_factor() == pytest.approx(1.190238071, rel=1e-9)
    assert found.attention_factor(found.alpha(9999)) == found.attention_factor()


def test_qwens_alpha() -> None:
    found = rotary("dynamic_ntk=per_sequence,ntk_formula=qwen,train_length=2048")
    expected = {2048: 1, 2049: 3, 4096: 3, 4097: 7, 8193: 15}
    assert {length: found.alpha(length) for length in expected} == expected


@pytest.mark.parametrize(
    ("text", "position", "value"),
    [
        ("log_scale=true,reference_length=2048", 2047, 1.0),  # Qwen's log-n
        ("log_scale=true,reference_length=2048", 2048, 1.0000640246),
        ("log_scale=true,reference_length=train,train_length=2048", 8191, 1.1818181818),
        ("attn_temperature=llama4", 8190, 1.0),
        ("attn_temperature=llama4", 8191, 1.069314718),
        ("attn_temperature=llama4", 131071, 1.283321381),
        ("attn_temperature=ministral3,floor_scale=16384", 16383, 1.0),
        ("attn_temperature=ministral3,floor_scale=16384", 16384, 1.069314718),
        ("scalable_softmax=0.43", 999, 0.43 * math.log(1000)),
        ("drope=true,softmax_scale=0.2", 7, 0.2 * math.sqrt(128)),
    ],
)
def test_query_scales(text: str, position: int, value: float) -> None:
    scale = rotary(text).query_scale(torch.tensor([position]))
    assert_close(scale, torch.full((1, 128), value), rtol=1e-6, atol=0)


def test_the_last_pairs_of_ntk_by_parts_are_interpolated_and_the_first_kept() -> None:
    found = rotary("ntk_parts_factor=8").inv_freq()
    plain = rotary("").inv_freq()
    turns = plain * 4096 / (2 * math.pi)
    assert torch.equal(found[turns > 20], plain[turns > 20])
    assert_close(found[turns < 0.5], plain[turns < 0.5] / 8, rtol=1e-12, atol=0)
    ntk = rotary("ntk_alpha=8").inv_freq()
    assert_close(found[41:44], ntk[41:44], rtol=1e-12, atol=0)


# ---- lists -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "[1, 2.5, 4, 8]",
        "1 2.5 4 8",
        "1\n2.5\n4\n8\n",
        "1.0,2.5,4e0,8",
    ],
)
def test_a_list_in_a_file_counts_by_its_content(tmp_path: Path, content: str) -> None:
    file = tmp_path / "some.json"
    file.write_text(content, encoding="utf-8")
    spec = RopeSpec.parse(f"longrope_factors=@{file}")
    assert spec == RopeSpec(longrope_factors=[1, 2.5, 4, 8])
    assert spec.fingerprint() == RopeSpec.parse("longrope_factors=1:2.5:4:8").fingerprint()
    assert spec.to_dict() == {"longrope_factors": [1.0, 2.5, 4.0, 8.0]}
    assert str(spec) == "longrope_factors=1:2.5:4:8"
    frequencies = RopeSpec.parse(f"frequencies=@{file}")
    assert frequencies.frequencies == (1, 2.5, 4, 8)


def test_two_lists(tmp_path: Path) -> None:
    named = {"long_factor": [3, 1 / 3], "short_factor": [1, 2]}
    file = tmp_path / "some.json"
    file.write_text(json.dumps(named), encoding="utf-8")
    spec = RopeSpec(longrope_factors=named)
    assert spec.longrope_factors == ((1.0, 2.0), (3.0, 1 / 3))
    assert spec == RopeSpec.parse(f"longrope_factors=@{file}") == RopeSpec.parse(str(spec))
    assert spec == RopeSpec(longrope_factors=[[1, 2], [3, 1 / 3]])
    assert spec.to_dict() == {"longrope_factors": [[1.0, 2.0], [3.0, 1 / 3]]}
    assert str(spec) == "longrope_factors=1:2/3:0.3333333333333333"
    assert spec.base_changes == "per_sequence"
    assert RopeSpec(longrope_factors=[1, 2]).base_changes == "never"


@pytest.mark.parametrize("text", [text for method in METHODS for text in method.examples])
def test_every_setting_survives_lm_evals_arguments_and_the_key(text: str) -> None:
    spec = RopeSpec.parse(text)
    assert RopeSpec.from_dict(simple_parse_args_string(str(spec))) == spec
    recorded = json.loads(json.dumps(spec.to_dict()))
    assert RopeSpec.from_dict(recorded) == spec
    assert run_key({"rope": recorded}) == run_key({"rope": spec.to_dict()})


def test_a_label_shortens_long_lists_and_tells_them_apart() -> None:
    one, other = (RopeSpec.parse(f"longrope_factors={LONG}{end}") for end in ("", "0"))
    assert one.label.startswith("longrope_factors=64 numbers ")
    assert one.label != other.label
    assert RopeSpec.parse("frequencies=1:0.5,log_scale=true").label == (
        "frequencies=1:0.5,log_scale=True"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"longrope_factors": "1:two"}, "longrope_factors must be a number greater than 0, got"),
        ({"longrope_factors": "1:0"}, "greater than 0, got 0"),
        ({"longrope_factors": []}, "longrope_factors must be a list of numbers"),
        ({"longrope_factors": 4}, "must be a list of numbers, 1:2:4 or @ and a file, got 4"),
        ({"longrope_factors": "1:2/1:2:3"}, "two lists of the same length, got 2 and 3 numbers"),
        ({"longrope_factors": "1:2/1:2/1:2"}, "two lists of the same length, got 2 and 2 and 2"),
        ({"longrope_factors": {"short_factor": [1]}}, "must have short_factor and long_factor"),
        ({"longrope_factors": "@nowhere.json"}, "longrope_factors: cannot read nowhere.json"),
        ({"frequencies": "1:-1"}, "frequencies must be a finite number 0 or more, got -1"),
        ({"frequencies": [1, True]}, "frequencies must be a number 0 or more, got True"),
    ],
)
def test_a_list_that_is_none_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        RopeSpec(**fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "longrope_factors=1:2:3",
            "longrope_factors has 3 numbers, and this checkpoint ro",
        ),
        ("longrope_factors=1:2:3/3:4:5", "longrope_factors has 3 numbers"),
        ("frequencies=1:0.1", "frequencies has 2 numbers"),
        ("cope=65", "cope must be at most the 64 pairs that this checkpoint rotates, got 65"),
        ("hard_clip=65", "hard_clip must be at most the 64 pairs"),
    ],
)
def test_what_does_not_fit_the_checkpoint_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        rotary(text)


# ---- combinations ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("beta_fast=8", "beta_fast has no meaning without yarn_factor or dynamic_yarn: give that"),
        ("low_freq_factor=2", "low_freq_factor has no meaning without llama3_factor"),
        ("longrope_ratio=2", "longrope_ratio has no meaning without longrope_factors"),
        ("softmax_scale=0.1", "softmax_scale has no meaning without drope"),
        ("attn_scale=0.3", "attn_scale has no meaning without attn_temperature"),
        ("yarn_factor=4,beta_slow=32", "beta_slow must be less than beta_fast=32, got 32"),
        ("llama3_factor=4,low_freq_factor=4", "low_freq_factor must be less than high_freq_factor"),
        ("yarn_factor=4,dynamic_yarn=octave", "cannot be combined with dynamic_yarn=octave"),
        ("yarn_factor=4,llama3_factor=4", "yarn_factor cannot be combined with llama3_factor"),
        (
            "ntk_parts_factor=4,yarn_factor=4",
            "ntk_parts_factor cannot be combined with yarn",
        ),
        ("frequencies=1:2,linear_factor=2", "linear_factor cannot be combined with frequencies"),
        ("frequencies=1:2,rope_theta=500", "frequencies cannot be combined with rope_theta"),
        ("hard_clip=2,cope=2", "hard_clip cannot be combined with cope"),
        (
            "drope=true,rope_theta=500",
            "rope_theta cannot be combined with drope: .* nothing",
        ),
        ("drope=true,cope=5", "drope cannot be combined with cope"),
        (
            "dynamic_ntk=per_query,ntk_formula=qwen",
            "qwen is defined for dynamic_ntk=per_sequence",
        ),
        ("hard_clip=2.5", "hard_clip must be a whole number of pairs, got 2.5"),
    ],
)
def test_a_combination_without_meaning_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        RopeSpec.parse(text)


def test_what_turns_pairs_off_or_rounds_comes_last() -> None:
    alone = rotary("yarn_factor=8").inv_freq()
    found = rotary("resonance=true,hard_clip=3,yarn_factor=8").inv_freq()
    expected = 2 * math.pi / (2 * math.pi / alone).round()
    assert_close(found[:-3], expected[:-3], rtol=1e-12, atol=0)
    assert found[-3:].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("attention_factor=1", {"attention_factor": None}),
        ("yarn_factor=2,attention_factor=1", {"yarn_factor": 3, "attention_factor": 3}),
        ("attn_temperature=llama4", {"attn_temperature": 8193}),
        (f"longrope_factors={':'.join('1' * 64)}/{LONG}", {"longrope_factors": 4097}),
        (f"longrope_factors={SHORT}/{LONG}", {"longrope_factors": 3}),
        (f"longrope_factors={':'.join('1' * 64)}", {"longrope_factors": None}),
        ("dynamic_yarn=octave", {"dynamic_yarn": 4097}),
        ("string_shift=99", {"string_shift": 3}),
        ("string_shift=200,attention_factor=1", {"string_shift": 202, "attention_factor": 3}),
        ("string_shift=99,attention_factor=1", {"string_shift": None, "attention_factor": 3}),
    ],
)
def test_where_each_begins(text: str, starts: dict[str, int | None]) -> None:
    assert rotary(text).effective_from == starts
