"""Octaves, frequencies, angles and scales against exact arithmetic and transformers."""

import math
from dataclasses import replace
from decimal import Decimal, getcontext
from fractions import Fraction

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from rope_eval.errors import SpecError
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.methods import METHODS, active
from rope_eval.rope.methods.dynamic_ntk import octave, octave_alpha
from rope_eval.rope.rotary import (
    Rotary,
    inverse_frequencies,
    rotate,
    rotate_pairs,
    rotate_side_by_side,
    scale_pairs,
    side_by_side,
)
from rope_eval.rope.spec import RopeSpec

CPU = torch.device("cpu")
LLAMA2 = RotaryGeometry(head_dim=128, rotary_dim=128, rope_theta=10000.0, train_length=4096)
TINY = RotaryGeometry(head_dim=16, rotary_dim=8, rope_theta=10000.0, train_length=32)
REFERENCES = [1.5, 2.0, 7.0, 12.5, 16.0, 33.3, 88.857, 100.0, 4096.0, 12762.37, 1e6 / 3, 2.0**20]


def exact_octave(t: int, reference: float) -> int:
    k, border = 0, Fraction(reference)
    while t > border:
        k, border = k + 1, 2 * border
    return k


# ---- octaves -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", REFERENCES)
def test_octaves_are_exact_at_their_borders(reference: float) -> None:
    borders = [math.floor(Fraction(reference) * 2**k) for k in range(22)]
    lengths = sorted({max(1, b + shift) for b in borders for shift in (-1, 0, 1, 2)})
    expected = [exact_octave(t, reference) for t in lengths]
    assert [octave(t, reference) for t in lengths] == expected
    rotary = Rotary(RopeSpec(dynamic_ntk="per_query", reference_length=reference), LLAMA2)
    for t, k in zip(lengths, expected, strict=True):
        assert rotary.alpha(t) == 2 ** (k + 1) - 1
        assert rotary.alpha_end(t) == math.floor(Fraction(reference) * 2**k) >= t


@pytest.mark.parametrize("reference", [7.0, 12.5, 33.3])
def test_octaves_of_every_position(reference: float) -> None:
    for t in range(1, 2000):
        assert octave(t, reference) == exact_octave(t, reference)


@pytest.mark.parametrize("nudge", [-1, 0, 1])
def test_octaves_of_references_one_rounding_away_from_a_length(nudge: int) -> None:
    for t in (3, 4095, 4096, 4097, 999_983):
        reference = float(t)
        if nudge:
            reference = math.nextafter(reference, math.inf * nudge)
        assert octave(t, reference) == exact_octave(t, reference)


def test_the_table_of_alpha() -> None:
    rotary = Rotary(RopeSpec(dynamic_ntk="per_query"), LLAMA2)
    assert rotary.reference_length == 4096
    table = {1: 1, 4096: 1, 4097: 3, 8192: 3, 8193: 7, 16384: 7, 16385: 15, 32768: 15, 32769: 31}
    assert {t: rotary.alpha(t) for t in table} == table
    assert [octave_alpha(k) for k in range(5)] == [1, 3, 7, 15, 31]


@pytest.mark.parametrize("factor", [1.0, 2.0, 4.5])
@pytest.mark.parametrize("reference", ["extra", 100.0])
def test_continuous_alpha(factor: float, reference: float) -> None:
    spec = RopeSpec(
        dynamic_ntk="per_sequence",
        ntk_formula="continuous",
        ntk_factor=factor,
        reference_length=reference,
        rope_theta=1e6,
    )
    rotary = Rotary(spec, LLAMA2)
    base = 4096 if reference == "extra" else 100
    assert rotary.alpha(base) == rotary.alpha(1) == 1
    for length in (base + 1, 3 * base):
        expected = (factor * length / base - (factor - 1)) ** (128 / 126)
        assert rotary.alpha(length) == pytest.approx(expected, rel=1e-12)


# ---- reference lengths -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("log_scale=true", 4096),
        ("log_scale=true,rope_theta=500,pretrain_theta=1e4,tune_length=16384", 16384),
        ("log_scale=true,rope_theta=40000", 12762),
        ("xpos=true,rope_theta=1000000", 129027),
        ("dynamic_ntk=per_query,rope_theta=1000000,reference_length=train", 4096),
        ("dynamic_ntk=per_query,rope_theta=1000000,reference_length=777", 777),
        ("dynamic_ntk=per_sequence,rope_theta=80000,train_length=4096", 21003),
    ],
)
def test_reference_length(text: str, expected: float) -> None:
    assert round(Rotary(RopeSpec.parse(text), LLAMA2).reference_length) == expected


@pytest.mark.parametrize("method", ["log_scale=true", "xpos=true"])
def test_the_continuous_formula_leaves_the_reference_of_others_alone(
    method: str,
) -> None:
    alone = Rotary(RopeSpec.parse(f"rope_theta=1e6,{method}"), LLAMA2)
    text = f"rope_theta=1e6,{method},dynamic_ntk=per_sequence,ntk_formula=continuous"
    both = Rotary(RopeSpec.parse(text), LLAMA2)
    positions = torch.tensor([200_000])
    assert_close(both.query_scale(positions), alone.query_scale(positions))
    assert_close(both.pair_scale(positions), alone.pair_scale(positions))
    assert both.alpha(8192) == pytest.approx(2 ** (128 / 126))


@pytest.mark.parametrize("text", [text for m in METHODS if m.needs for text in m.examples])
def test_a_law_without_train_length_says_so(text: str) -> None:
    geometry = RotaryGeometry(head_dim=16, rotary_dim=16, rope_theta=1e4, train_length=None)
    with pytest.raises(SpecError, match=r"needs train_length.*give train_length=…"):
        Rotary(RopeSpec.parse(text), geometry)
    Rotary(RopeSpec.parse(f"{text},train_length=32"), geometry)


@pytest.mark.parametrize("text", ["", *(t for m in METHODS if not m.needs for t in m.examples)])
def test_what_needs_no_law_needs_no_train_length(text: str) -> None:
    geometry = RotaryGeometry(head_dim=16, rotary_dim=16, rope_theta=1e4, train_length=None)
    Rotary(RopeSpec.parse(text), geometry).inv_freq()


@pytest.mark.parametrize(
    "text",
    [t for m in METHODS if m.frequencies in ("base", "scale", "set") for t in m.examples],
)
def test_frequencies_scaled_by_the_config_are_not_set(text: str) -> None:
    geometry = RotaryGeometry(
        head_dim=8,
        rotary_dim=8,
        rope_theta=1e4,
        train_length=32,
        inv_freq=inverse_frequencies(1e4, 8) / 4,
        attention_factor=1.25,
    )
    spec = RopeSpec.parse(text).replace(reference_length=32)
    if any(method.frequencies == "set" for method in active(spec)):
        with pytest.raises(SpecError, match="already scales its rotary frequencies"):
            Rotary(spec, geometry)
    elif spec.linear_factor != 1:
        found = Rotary(spec, geometry).inv_freq()
        assert_close(found, inverse_frequencies(1e4, 8) / 4 / spec.linear_factor)
    else:
        with pytest.raises(SpecError, match=r"the base .* cannot be asked for"):
            Rotary(spec, geometry).inv_freq(3.0)
        known = replace(geometry, rescaled=lambda base: inverse_frequencies(base, 8) / 4)
        base = Rotary(spec, replace(geometry, inv_freq=None)).inv_freq(3.0)
        assert_close(Rotary(spec, known).inv_freq(3.0), base / 4)
    scales = "log_scale=true,xpos=true,beyond_critical=clip"
    with pytest.raises(SpecError, match=r"of the base alone.*Give reference_length=…"):
        Rotary(RopeSpec.parse(scales), geometry)
    rotary = Rotary(RopeSpec.parse(f"{scales},reference_length=32"), geometry)
    assert_close(rotary.inv_freq(), inverse_frequencies(1e4, 8) / 4)
    assert rotary.attention_factor() == 1.25


# ---- frequencies and angles --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "alpha", "base", "divisor"),
    [
        ("", 1, 10000, 1),
        ("rope_theta=500", 1, 500, 1),
        ("linear_factor=4", 1, 10000, 4),
        ("ntk_alpha=8", 1, 10000 * 8 ** (128 / 126), 1),
        ("dynamic_ntk=per_query", 7, 70000, 1),
        (
            "rope_theta=500,ntk_alpha=8,linear_factor=2,dynamic_ntk=true",
            3,
            1500 * 8 ** (64 / 63),
            2,
        ),
    ],
)
def test_frequencies(text: str, alpha: float, base: float, divisor: float) -> None:
    found = Rotary(RopeSpec.parse(text), LLAMA2).inv_freq(alpha)
    expected = [base ** (-2 * n / 128) / divisor for n in range(64)]
    assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=0)


@pytest.mark.parametrize("factor", [1.5, 4.0, 16.0, 40.0])
@pytest.mark.parametrize(
    ("dim", "theta", "train"),
    [(128, 1e4, 4096), (128, 5e5, 8192), (64, 500.0, 2048), (16, 1e4, 32), (8, 2.5, 100_000)],
)
def test_yarn_is_transformers(factor: float, dim: int, theta: float, train: int) -> None:
    config = LlamaConfig(
        head_dim=dim,
        max_position_embeddings=int(train * factor),
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": theta,
            "factor": factor,
            "original_max_position_embeddings": train,
        },
    )
    theirs, their_factor = ROPE_INIT_FUNCTIONS["yarn"](config)
    geometry = RotaryGeometry(head_dim=dim, rotary_dim=dim, rope_theta=theta, train_length=train)
    ours = Rotary(RopeSpec(yarn_factor=factor), geometry)
    assert_close(ours.inv_freq(), theirs.double(), rtol=2e-6, atol=0)
    assert ours.attention_factor() == pytest.approx(their_factor, rel=1e-12)


def exact_angle(position: int, n: int, base: Decimal, dim: int) -> float:
    """Return the angle of pair n modulo 2π, from 60 decimal digits."""
    getcontext().prec = 60
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
    angle = position * (-Decimal(2 * n) / dim * base.ln()).exp()
    return float(angle % (2 * pi))


@pytest.mark.parametrize(("theta", "alpha"), [(10000, 1), (500, 1), (10000, 511), (1000003, 3)])
def test_angles_at_a_million_tokens(theta: int, alpha: int) -> None:
    rotary = Rotary(RopeSpec(rope_theta=theta, dynamic_ntk="per_query"), TINY)
    positions = [999_999, 1_000_000, 65_535, 65_536, 131_072]
    cos, sin = rotary.table(float(alpha), 1_000_001, CPU)
    assert cos.shape == (1_000_001, 4)
    for n in range(4):
        for position in positions:
            expected = exact_angle(position, n, Decimal(theta * alpha), 8)
            found = math.atan2(float(sin[position, n]), float(cos[position, n]))
            error = math.remainder(found - expected, 2 * math.pi)
            assert abs(error) < 1e-6


def test_tables_grow_without_changing_and_the_oldest_are_let_go() -> None:
    rotary = Rotary(RopeSpec(dynamic_ntk="per_query"), TINY)
    fresh = Rotary(RopeSpec(dynamic_ntk="per_query"), TINY)
    for length in (1, 5, 6, 40, 3, 200):
        cos, sin = rotary.table(3.0, length, CPU)
        assert cos.shape == sin.shape == (length, 4)
        whole = fresh.table(3.0, 200, CPU)
        assert torch.equal(cos, whole[0][:length])
        assert torch.equal(sin, whole[1][:length])
    for alpha in range(1, 100):
        rotary.table(float(alpha), 4, CPU)
    assert len(rotary._tables) <= 32
    assert torch.equal(rotary.table(3.0, 200, CPU)[0], whole[0])


def test_tables_grow_by_doubling_and_are_reused() -> None:
    rotary = Rotary(RopeSpec(), TINY)

    def room() -> int:
        return rotary.table(1.0, 2, CPU)[0].untyped_storage().nbytes() // (4 * 4)

    rotary.table(1.0, 10, CPU)
    assert room() == 10
    rotary.table(1.0, 11, CPU)  # a step of decoding makes room for ten
    assert room() == 20
    rotary.table(1.0, 100, CPU)
    assert room() == 100


def test_a_table_made_while_inferring_serves_autograd() -> None:
    rotary = Rotary(RopeSpec(), TINY)
    with torch.inference_mode():
        rotary.table(1.0, 8, CPU)
    x = torch.randn(1, 1, 8, 16, requires_grad=True)
    rotate(x, *rotary.table(1.0, 8, CPU)).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("text", ["attention_factor=1.3", "beyond_critical=clip,train_length=8"])
@pytest.mark.parametrize("first", [0, 999_937])
def test_a_run_is_that_part_of_a_table(text: str, first: int) -> None:
    rotary = Rotary(RopeSpec.parse(text), TINY)
    found = rotary.run(3.7, first, first + 4231, CPU)
    expected = torch.complex(*rotary.table_at(3.7, torch.arange(first, first + 4231).double()))
    assert_close(found, expected, rtol=0, atol=1.3e-7)


@pytest.mark.parametrize("text", ["", "beyond_critical=clip,train_length=8"])
def test_a_run_may_begin_in_padding(text: str) -> None:
    rotary = Rotary(RopeSpec.parse(text), TINY)
    found = rotary.run(2.0, -70, 3, CPU)
    assert found.isfinite().all()
    assert_close(found[70:], rotary.run(2.0, 0, 3, CPU), rtol=0, atol=1.3e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_rotating_pairs_that_lie_together_is_rotating(dtype: torch.dtype) -> None:
    x, (cos, sin) = torch.randn(2, 3, 5, 20).to(dtype), Rotary(RopeSpec(), TINY).table(1.0, 5, CPU)
    F = cos.shape[-1]
    kept = torch.promote_types(dtype, torch.float32)
    out = torch.full((2, 3, 9, 20), torch.nan, dtype=kept)
    rotate_pairs(out[:, :, 2:7], side_by_side(x, F), torch.complex(cos, sin))
    expected = side_by_side(rotate(x.to(kept), cos, sin), F)
    assert_close(out[:, :, 2:7], expected, rtol=0, atol=1e-6)
    found = rotate_side_by_side(x, torch.complex(cos, sin))
    assert_close(found, side_by_side(rotate(x, cos, sin), F), rtol=0, atol=1e-6)
    turns = torch.complex(*Rotary(RopeSpec(), TINY).table(1.0, 7, CPU))
    several = rotate_side_by_side(x[:, :, 3:4], turns)
    expected = side_by_side(rotate(x[:, :, 3:4].expand(-1, -1, 7, -1), turns.real, turns.imag), F)
    assert_close(several, expected, rtol=0, atol=1e-6)
    expected = side_by_side(rotate(x.to(kept), cos, sin), F)
    assert out[:, :, [0, 1, 7, 8]].isnan().all()
    assert_close(expected @ expected.mT, (y := rotate(x.to(kept), cos, sin)) @ y.mT)
    still = side_by_side(x, F)
    assert torch.equal(still[..., : 2 * F : 2], x[..., :F])
    assert torch.equal(still[..., 1 : 2 * F : 2], x[..., F : 2 * F])


def test_clip_holds_the_dimensions_beyond_the_critical_one() -> None:
    rotary = Rotary(RopeSpec(beyond_critical="clip"), LLAMA2)
    keep = Rotary(RopeSpec(), LLAMA2)
    assert rotary.critical_dimension == 92
    clipped, plain = rotary.table(1.0, 9000, CPU)[0], keep.table(1.0, 9000, CPU)[0]
    assert torch.equal(clipped[:, :46], plain[:, :46])
    assert torch.equal(clipped[:4096], plain[:4096])
    assert torch.equal(clipped[4095:, 46:], plain[4095, 46:].expand(4905, -1))
    assert not torch.equal(clipped[4096, 46:], plain[4096, 46:])


# ---- queries -----------------------------------------------------------------------------------


def test_log_scale() -> None:
    rotary = Rotary(RopeSpec(log_scale=True), LLAMA2)
    positions = torch.tensor([[0, 1, 4095, 4096, 8191, 999_999]])
    scale = rotary.query_scale(positions)
    expected = [max(1, math.log(t) / math.log(4096)) for t in (1, 2, 4096, 4097, 8192, 10**6)]
    assert scale.shape == (1, 6, 128)
    assert scale.dtype == torch.float32
    assert_close(scale[0, :, 0], torch.tensor(expected), rtol=1e-6, atol=0)
    assert torch.equal(scale, scale[..., :1].expand_as(scale))
    assert not Rotary(RopeSpec(xpos=True), LLAMA2).scales_queries


def test_drop_removes_pairs_and_keeps_what_is_not_rotated() -> None:
    rotary = Rotary(RopeSpec(beyond_critical="drop", train_length=32), TINY)
    assert rotary.critical_dimension == 2
    scale = rotary.query_scale(torch.arange(3))
    left = [1, 0, 0, 0, 1, 0, 0, 0] + [1] * 8
    expected = torch.tensor(left, dtype=torch.float32) * math.sqrt(16 / 10)
    assert_close(scale, expected.expand(3, 16))


# ---- xPos --------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [100, 4096, 40_000, 1_000_000])
def test_xpos_neither_overflows_nor_loses_near_keys(length: int) -> None:
    rotary = Rotary(RopeSpec(xpos=True), LLAMA2)
    block = int(min(length, rotary.longest_block))
    queries = torch.arange(length - block, length)
    centre = queries[block // 2]
    q = rotary.pair_scale(queries - centre)
    k = rotary.pair_scale(centre - torch.arange(0, length, max(1, length // 5000)))
    largest = torch.finfo(torch.float16).max / 100
    assert q.isfinite().all()
    assert k.isfinite().all()
    assert q.max() < largest
    assert k.max() < largest
    assert q.min() > torch.finfo(torch.float16).tiny
    near = rotary.pair_scale(centre - queries)
    assert_close((q * near), torch.ones_like(q), rtol=1e-5, atol=0)


def test_xpos_is_the_soft_window_of_eq_17() -> None:
    rotary = Rotary(RopeSpec(xpos=True, reference_length=50), TINY)
    t, s, centre = 120, 31, 100
    product = rotary.pair_scale(torch.tensor(t - centre)) * rotary.pair_scale(
        torch.tensor(centre - s)
    )
    zeta = [(0.4 + 2 * n / 8) / 1.4 for n in range(4)]
    expected = torch.tensor([z ** ((t - s) / 50) for z in zeta])
    assert_close(product, expected, rtol=1e-5, atol=0)


# ---- rotation ----------------------------------------------------------------------------------


def rotation_by_matrices(x: Tensor, inv_freq: Tensor) -> Tensor:
    out = x.clone()
    F = len(inv_freq)
    for t in range(x.shape[-2]):
        for n in range(F):
            angle = t * float(inv_freq[n])
            a, b = x[..., t, n], x[..., t, n + F]
            out[..., t, n] = a * math.cos(angle) - b * math.sin(angle)
            out[..., t, n + F] = a * math.sin(angle) + b * math.cos(angle)
    return out


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)]
)
def test_rotate(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 50, 16).to(dtype)
    before = x.clone()
    rotary = Rotary(RopeSpec(), TINY)
    out = rotate(x, *rotary.table(1.0, 50, CPU))
    assert out.dtype == dtype
    assert torch.equal(x, before)
    assert torch.equal(out[..., 8:], x[..., 8:])
    expected = rotation_by_matrices(x.double(), rotary.inv_freq())
    assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)


def test_scale_pairs() -> None:
    x = torch.ones(1, 1, 2, 6)
    scale = torch.tensor([[2.0, 3.0], [4.0, 5.0]])
    out = scale_pairs(x, scale)
    assert out[0, 0].tolist() == [[2, 3, 2, 3, 1, 1], [4, 5, 4, 5, 1, 1]]
    assert torch.equal(x, torch.ones(1, 1, 2, 6))
