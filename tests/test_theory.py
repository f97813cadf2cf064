"""The laws against published values and direct sums, and the command that prints them."""

import argparse
import inspect
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.configs import RELEASED
from rope_eval import theory
from rope_eval.commands import theory as command
from rope_eval.errors import DataError, RopeEvalError, SpecError

LLAMA2: dict[str, Any] = {"head_dim": 128, "train_length": 4096}


# --- arXiv 2310.05209 -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head_dim", "train_length", "pretrain_theta", "dimensions"),
    [
        (128, 4096, 10000.0, 92),
        (64, 128, 10000.0, 22),
        (128, 8192, 500000.0, 70),
        (128, 7, 10000.0, 2),  # 7 is the first length above 2π: one pair
    ],
)
def test_critical_dimension(
    head_dim: int, train_length: int, pretrain_theta: float, dimensions: int
) -> None:
    found = theory.critical_dimension(head_dim, train_length, pretrain_theta=pretrain_theta)
    assert found == dimensions
    # Its meaning (Lemma 1): these pairs turn fully within train_length, the others do not.
    periods = theory.periods(pretrain_theta, head_dim=head_dim)
    assert len(periods) == head_dim // 2
    assert sum(period <= train_length for period in periods) == dimensions // 2


def test_critical_dimension_is_capped_at_head_dim() -> None:
    # 2π·10000 = 62831.9
    assert theory.critical_dimension(128, 62831) == 128
    assert theory.critical_dimension(128, 62832) == 128
    assert theory.critical_dimension(128, 10**9) == 128
    assert theory.critical_dimension(128, 60000) == 128
    assert theory.critical_dimension(128, 50000) == 126
    bound = theory.extrapolation_bound(1e6, head_dim=128, train_length=100_000)
    assert bound == pytest.approx(2 * math.pi * 1e6)
    # The guarantee of smallest_base_for ends where the cap begins, as its docstring says.
    base = theory.smallest_base_for(200_000, train_length=100_000)
    assert theory.extrapolation_bound(base, head_dim=128, train_length=100_000) < 200_000


@pytest.mark.parametrize(
    ("rope_theta", "bound"),
    [
        (40000, 12762),
        (80000, 21003),
        (120000, 28109),
        (160000, 34565),
        (400000, 66782),
        (600000, 89377),
        (1000000, 129027),
    ],
)
def test_extrapolation_bound_of_llama2(rope_theta: int, bound: int) -> None:
    assert round(theory.extrapolation_bound(rope_theta, **LLAMA2)) == bound


@pytest.mark.parametrize(("rope_theta", "bound"), [(1e5, 329), (1e6, 726)])
def test_extrapolation_bound_of_small_heads(rope_theta: float, bound: int) -> None:
    # Written out: d_extra = 2·⌈32·ln(128/2π)/ln(10000)⌉ = 2·⌈10.47⌉ = 22.
    found = theory.extrapolation_bound(rope_theta, head_dim=64, train_length=128)
    assert found == pytest.approx(2 * math.pi * rope_theta ** (22 / 64), rel=1e-12)
    assert int(found) in (bound - 1, bound)


def test_critical_base_parts_the_two_cases() -> None:
    base = theory.critical_base(4096, 16384)
    assert round(base) == 71738
    tuned = {**LLAMA2, "tune_length": 16384}
    assert theory.extrapolation_bound(base, **tuned) == 16384
    assert theory.extrapolation_bound(math.nextafter(base, math.inf), **tuned) > 16384
    assert round(theory.extrapolation_bound(80000, **tuned)) == 21003
    assert theory.extrapolation_bound(40000, **tuned) == 16384


def test_critical_base_is_the_pretraining_base_without_longer_tuning() -> None:
    assert theory.critical_base(4096) == 10000.0
    assert theory.critical_base(4096, pretrain_theta=500000.0) == 500000.0
    assert theory.extrapolation_bound(10000, **LLAMA2) == 4096
    assert theory.extrapolation_bound(500, **LLAMA2) == 4096


def test_effective_dimension() -> None:
    def effective(rope_theta: float, tune_length: int | None = None) -> int:
        return theory.effective_dimension(rope_theta, **LLAMA2, tune_length=tune_length)

    assert effective(10000) == 92
    assert effective(1e6) == 92  # above β₀: as pre-training left it
    # 2·⌈64·ln(16384/2π)/ln β⌉
    assert effective(10000, 16384) == 110
    assert effective(40000, 16384) == 96
    assert effective(500, 16384) == 128
    for rope_theta in (500, 10000, 40000, 71737):
        turned = sum(t <= 16384 for t in theory.periods(rope_theta, head_dim=128))
        assert effective(rope_theta, 16384) == 2 * turned


def test_smallest_base_for() -> None:
    assert round(theory.smallest_base_for(100_000, train_length=4096)) == 938327
    # The same law as the critical base's, asked the other way round.
    assert theory.smallest_base_for(16384, train_length=4096) == theory.critical_base(4096, 16384)
    assert theory.smallest_base_for(16384, train_length=8192, pretrain_theta=5e5) == pytest.approx(
        5e5 ** (math.log(16384 / 2 / math.pi) / math.log(8192 / 2 / math.pi)), rel=1e-12
    )
    for target in (5000, 16384, 100_000, 10**6):
        base = theory.smallest_base_for(target, train_length=4096)
        assert theory.extrapolation_bound(base, **LLAMA2) >= target  # the ceiling of Eq. 5
        # Without it they would be equal.
        exponent = math.log(4096 / 2 / math.pi) / math.log(10000)
        assert 2 * math.pi * base**exponent == pytest.approx(target, rel=1e-9)


def test_pivot_bases() -> None:
    assert theory.pivot_bases(4096) == pytest.approx((2607.5946, 1303.7973, 651.8986), abs=1e-4)
    assert theory.pivot_bases(128)[2] == pytest.approx(20.372, abs=1e-3)


def test_periods() -> None:
    periods = theory.periods(10000, head_dim=128)
    assert periods[0] == pytest.approx(2 * math.pi)
    assert periods[63] == pytest.approx(2 * math.pi * 10000 ** (126 / 128))


# --- arXiv 2405.14591 -------------------------------------------------------------------------


def direct_first_negative(rope_theta: float, length: int, head_dim: int) -> int | None:
    freq = [rope_theta ** (-2 * i / head_dim) for i in range(head_dim // 2)]
    for m in range(length + 1):
        if sum(math.cos(m * f) for f in freq) < 0:
            return m
    return None


@pytest.mark.parametrize(
    ("rope_theta", "first"), [(500, 171), (10**4, 1707), (5 * 10**5, 18438), (10**6, 27115)]
)
def test_first_negative(rope_theta: int, first: int) -> None:
    assert theory.first_negative(rope_theta, 1 << 20, 128) == first
    assert theory.first_negative(rope_theta, first, 128) == first  # the end is included
    assert theory.first_negative(rope_theta, first - 1, 128) is None
    assert not theory.base_is_feasible(rope_theta, first, 128)
    assert theory.base_is_feasible(rope_theta, first - 1, 128)


@pytest.mark.parametrize("head_dim", [2, 4, 6, 16, 64, 128])
def test_first_negative_equals_the_direct_search(head_dim: int) -> None:
    found = []
    for rope_theta in (1.01, 3.7, 20, 333, 4321, 87654):
        for length in (1, 2, 3, 17, 400, 1313):
            expected = direct_first_negative(rope_theta, length, head_dim)
            assert theory.first_negative(rope_theta, length, head_dim) == expected
            assert theory.base_is_feasible(rope_theta, length, head_dim) == (expected is None)
            found.append(expected)
    assert None in found
    assert any(found)


@pytest.mark.parametrize(("length", "head_dim"), [(300, 6), (500, 16), (200, 64), (200, 128)])
def test_base_lower_bound_equals_the_direct_scan(length: int, head_dim: int) -> None:
    grid = [10 ** (k / 50) for k in range(1, 401)]
    direct = {b: direct_first_negative(b, length, head_dim) for b in grid}
    for base, first in direct.items():
        assert theory.first_negative(base, length, head_dim) == first
        assert theory.base_is_feasible(base, length, head_dim) == (first is None)
    feasible = [base for base, first in direct.items() if first is None]
    found = theory.base_lower_bound(length, head_dim, bases_per_decade=50)
    assert found == pytest.approx(feasible[0], rel=1e-12)


@pytest.mark.parametrize(
    ("length", "scanned"),
    [
        (1 << 10, "4.30e+03"),
        (1 << 11, "1.16e+04"),
        (1 << 12, "2.86e+04"),
        (1 << 13, "8.39e+04"),
        (1 << 14, "2.34e+05"),
    ],
)
def test_base_lower_bound_of_llama2_heads(length: int, scanned: str) -> None:
    assert f"{theory.base_lower_bound(length, 128):.2e}" == scanned


def test_feasibility_is_not_monotone_in_the_base() -> None:
    # Bases 10^(k/1000) from the bound at 8192 tokens, 8.39e4, to the last infeasible one, 3.9e5.
    for k, feasible in [(4923, False), (4924, True), (4930, False), (5595, False), (5596, True)]:
        base = 10 ** (k / 1000)
        assert theory.base_is_feasible(base, 8192, 128) == feasible
        assert (direct_first_negative(base, 8192, 128) is None) == feasible


def test_base_lower_bound_depends_on_the_grid() -> None:
    coarse = theory.base_lower_bound(4096, 128, bases_per_decade=10)
    assert coarse == pytest.approx(10**4.7)  # inside the feasible stretch of 4.71e4, not of 2.86e4


def test_base_lower_bound_of_heads_without_any() -> None:
    assert theory.base_lower_bound(4096, 2, bases_per_decade=100) is None


def test_published_bounds() -> None:
    assert theory.published_base_bound(32768, 128) == 6.4e5
    assert theory.published_base_bound(32768, 64) is None
    assert theory.published_base_bound(32767, 128) is None
    lengths = [1024 * 2**k for k in range(11)]
    bounds = [4.3e3, 1.6e4, 2.7e4, 8.4e4, 3.1e5, 6.4e5, 2.1e6, 7.8e6, 3.6e7, 6.4e7, 5.1e8]
    assert dict(theory.PUBLISHED_BASE_BOUNDS) == dict(zip(lengths, bounds, strict=True))


# --- bad input --------------------------------------------------------------------------------

NO_BASE: list[Any] = [1, 1.0, 0, -5, 0.5, math.nan, math.inf, -math.inf, "500", None, True, 10**400]
NO_LENGTH: list[Any] = [6, 0, -1, 4096.0, "4k", True, math.nan]


@pytest.mark.parametrize("base", NO_BASE)
def test_bad_base(base: Any) -> None:
    for call in (
        lambda: theory.periods(base, head_dim=128),
        lambda: theory.extrapolation_bound(base, **LLAMA2),
        lambda: theory.effective_dimension(base, **LLAMA2),
        lambda: theory.first_negative(base, 4096, 128),
        lambda: theory.base_is_feasible(base, 4096, 128),
    ):
        with pytest.raises(SpecError, match="rope_theta must be"):
            call()
    for call in (
        lambda: theory.critical_dimension(**LLAMA2, pretrain_theta=base),
        lambda: theory.critical_base(4096, pretrain_theta=base),
        lambda: theory.extrapolation_bound(500, **LLAMA2, pretrain_theta=base),
        lambda: theory.smallest_base_for(8192, train_length=4096, pretrain_theta=base),
    ):
        with pytest.raises(SpecError, match="pretrain_theta must be"):
            call()


@pytest.mark.parametrize("head_dim", [0, -2, 127, 64.0, "128", None, True])
def test_bad_head_dim(head_dim: Any) -> None:
    for call in (
        lambda: theory.periods(500, head_dim=head_dim),
        lambda: theory.critical_dimension(head_dim, 4096),
        lambda: theory.extrapolation_bound(500, head_dim=head_dim, train_length=4096),
        lambda: theory.effective_dimension(500, head_dim=head_dim, train_length=4096),
        lambda: theory.first_negative(500, 4096, head_dim),
        lambda: theory.base_is_feasible(500, 4096, head_dim),
        lambda: theory.base_lower_bound(4096, head_dim),
    ):
        with pytest.raises(SpecError, match="head_dim must be an even positive integer"):
            call()


@pytest.mark.parametrize("length", NO_LENGTH)
def test_bad_length(length: Any) -> None:
    for name, call in (
        ("train_length", lambda: theory.critical_dimension(128, length)),
        ("train_length", lambda: theory.critical_base(length)),
        ("tune_length", lambda: theory.critical_base(4096, length)),
        ("tune_length", lambda: theory.extrapolation_bound(500, **LLAMA2, tune_length=length)),
        ("target_length", lambda: theory.smallest_base_for(length, train_length=4096)),
        ("train_length", lambda: theory.smallest_base_for(4096, train_length=length)),
        ("tune_length", lambda: theory.pivot_bases(length)),
    ):
        with pytest.raises(SpecError, match=f"{name} must be"):
            call()


@pytest.mark.parametrize("length", [0, -1, 4096.0, "4k", True])
def test_bad_context(length: Any) -> None:
    for call in (
        lambda: theory.first_negative(500, length, 128),
        lambda: theory.base_is_feasible(500, length, 128),
        lambda: theory.base_lower_bound(length, 128),
    ):
        with pytest.raises(SpecError, match="length must be"):
            call()


def test_tuning_shorter_than_pretraining_has_no_law() -> None:
    with pytest.raises(SpecError, match="tune_length must be at least train_length"):
        theory.critical_base(4096, 4095)


def test_base_beyond_the_floats() -> None:
    with pytest.raises(SpecError, match="longer train_length"):
        theory.smallest_base_for(1 << 20, train_length=7)


@pytest.mark.parametrize("grid", [0, -1, 10.0, True])
def test_bad_grid(grid: Any) -> None:
    with pytest.raises(SpecError, match="bases_per_decade must be a positive integer"):
        theory.base_lower_bound(1024, 128, bases_per_decade=grid)


def test_every_public_law_has_a_source_and_a_doctest() -> None:
    functions = [
        value
        for name, value in vars(theory).items()
        if inspect.isfunction(value) and name in theory.__all__
    ]
    assert len(functions) == 16
    for function in functions:
        assert function.__doc__ is not None
        assert ">>>" in function.__doc__, function.__name__
        assert re.search(r"\[[1-5]\]", function.__doc__), function.__name__


# --- the command ------------------------------------------------------------------------------


def theory_command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["theory", *arguments])
    status: int = args.run(args)
    return status


def theory_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert theory_command(*arguments, "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    found: dict[str, Any] = json.loads(out)
    return found


def write_config(directory: Path, **config: Any) -> str:
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(directory)


LLAMA = "--head-dim 128 --train-length 4k --pretrain-theta 1e4"
LLAMA2_FLAGS = tuple(LLAMA.split())


def test_command_json(capsys: pytest.CaptureFixture[str]) -> None:
    facts = theory_json(capsys, *LLAMA2_FLAGS)
    assert facts.pop("pivot_bases") == pytest.approx([2607.5946, 1303.7973, 651.8986], abs=1e-4)
    assert facts.pop("meaning").startswith("Trained on 4096 tokens, the perplexity ")
    laws = facts.pop("laws")
    assert {name: law["source"] for name, law in laws.items() if law["value"]} == {
        "train_length": "given",
        "pretrain_theta": "given",
    }
    assert facts == {
        "head_dim": 128,
        "train_length": 4096,
        "tune_length": 4096,
        "rope_theta": 10000.0,
        "pretrain_theta": 10000.0,
        "critical_dimension": 92,
        "critical_base": 10000.0,
        "extrapolation_bound": 4096.0,
        "effective_dimension": 92,
        "notes": [],
    }


def test_command_takes_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    facts = theory_json(capsys, *LLAMA2_FLAGS, "--tune-length", "16k")
    assert round(facts["critical_base"]) == 71738
    assert facts["extrapolation_bound"] == 16384
    assert [round(pivot) for pivot in facts["pivot_bases"]] == [10430, 5215, 2608]

    other = ["--head-dim", "64", "--train-length", "8k", "--pretrain-theta", "500000"]
    facts = theory_json(capsys, *other, "--rope-theta", "2e6")
    assert facts["rope_theta"] == 2e6
    assert facts["critical_base"] == 500000
    assert facts["critical_dimension"] == 36
    assert facts["extrapolation_bound"] == pytest.approx(2 * math.pi * 2e6 ** (36 / 64))

    facts = theory_json(capsys, *other)
    assert facts["rope_theta"] == 500000  # the base defaults to the one of the pre-training


def test_command_target_length(capsys: pytest.CaptureFixture[str]) -> None:
    facts = theory_json(capsys, *LLAMA2_FLAGS, "--target-length", "2k")
    assert facts["target_length"] == 2048
    assert facts["smallest_base"] == theory.smallest_base_for(2048, train_length=4096)
    assert f"{facts['base_lower_bound']:.2e}" == "1.16e+04"
    assert facts["published_base_lower_bound"] == 1.6e4
    assert facts["bases_per_decade"] == 1000
    assert facts["first_negative"] == 1707

    facts = theory_json(
        capsys, *LLAMA2_FLAGS, "--target-length", "100000", "--bases-per-decade", "10"
    )
    assert round(facts["smallest_base"]) == 938327
    assert facts["published_base_lower_bound"] is None
    assert facts["bases_per_decade"] == 10
    assert theory.base_is_feasible(facts["base_lower_bound"], 100_000, 128)


def test_command_table(capsys: pytest.CaptureFixture[str]) -> None:
    flags = (*LLAMA2_FLAGS, "--train-length", "1000000", "--rope-theta", "10000.5")
    assert theory_command(*flags) == 0
    out = capsys.readouterr().out
    assert "train_length 1000000 · tune_length 1000000 · rope_theta 10000.5" in out
    assert re.search(r"extrapolation bound +none  with a base of 10000 every pair turns fully", out)

    flags = (*LLAMA2_FLAGS, "--rope-theta", "500")
    assert theory_command(*flags, "--target-length", "1k") == 0
    lines = capsys.readouterr().out.splitlines()
    table = {line[:19].strip(): line[19:].split(maxsplit=1) for line in lines[2:]}
    assert table["critical dimension"] == [
        "92",
        "46 of 64 pairs turn fully in pre-training (pair 45 in 4080 tokens; pair 46 needs 4712)",
    ]
    assert table["extrapolation bound"][0] == "4096"
    assert table["extrapolation bound"][1].endswith("every pair saw a full period")
    assert table["pivot bases"][0] == "2608"
    assert table["lower bound on base"][0] == "4.3e+03"
    grid = "scan of 1000 bases a decade, up to 1e+12; published: 4.3e+03"
    assert table["lower bound on base"][1] == grid
    assert table["first B(m) < 0"][0] == "171"


CONFIGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (  # transformers 4
        {
            "hidden_size": 4096,
            "num_attention_heads": 32,
            "max_position_embeddings": 4096,
            "rope_theta": 500,
            "rope_scaling": None,
        },
        {"head_dim": 128, "train_length": 4096, "tune_length": 4096, "rope_theta": 500},
    ),
    (  # transformers 5
        {
            "hidden_size": 4096,
            "num_attention_heads": 32,
            "head_dim": 64,
            "max_position_embeddings": 128,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e5},
        },
        {"head_dim": 64, "train_length": 128, "tune_length": 128, "rope_theta": 1e5},
    ),
    (  # partial rotary, in the one place
        {
            "head_dim": 128,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5},
        },
        {"head_dim": 64, "rope_theta": 1e4},
    ),
    (  # and in the other
        {
            "hidden_size": 2560,
            "num_attention_heads": 32,
            "head_dim": None,
            "max_position_embeddings": 2048,
            "partial_rotary_factor": 0.4,
            "rope_theta": 10000.0,
        },
        {"head_dim": 32, "train_length": 2048},
    ),
]


@pytest.mark.parametrize(("config", "expected"), CONFIGS)
def test_command_reads_a_model(
    config: dict[str, Any],
    expected: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = theory_json(capsys, "--model", write_config(tmp_path, **config))
    assert {key: facts[key] for key in expected} == expected
    base, length = facts["notes"]
    assert base.startswith(f"pretrain_theta {facts['rope_theta']:.10g}: the config's own base (")
    assert ": the config's max_position_embeddings (" in length


@pytest.mark.parametrize(
    ("name", "dimension", "bound", "sources"),
    [
        ("LLaMA2", 92, 4096, "known of LLaMA2"),
        ("Code LLaMA", 92, 129027, "known of Code LLaMA"),  # arXiv 2310.05209
        ("Llama 3", 70, 8192, "known of Llama 3"),  # 35 pairs: arXiv 2502.20082
        ("Llama 3.1", 70, None, "known of Llama 3.1"),
        ("Mistral v0.1", 100, 8192, "known of Mistral 7B v0.1"),
        ("Mistral v0.3", 80, 32768, "the config's"),
        ("Qwen2.5", 92, 129027, "known of Qwen2, Qwen2.5"),
        ("Qwen3", 92, 129027, "known of Qwen3"),
        ("Phi-3 mini 4k", 62, 4096, "known of Phi-3 mini 4k"),  # 31 pairs: arXiv 2502.20082
        ("Phi-3 mini 128k", 62, None, "known of Phi-3 mini 128k"),
        ("SmolLM2", 42, 12007, "known of SmolLM2"),  # its loss rises between 10,240 and 11,264
    ],
)
def test_command_on_released_configs(
    name: str,
    dimension: int,
    bound: int | None,
    sources: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = theory_json(capsys, "--model", write_config(tmp_path, **RELEASED[name]))
    found = facts["extrapolation_bound"]
    assert (facts["critical_dimension"], found and round(found)) == (dimension, bound)
    assert facts["notes"]
    assert all(f": {sources}" in note for note in facts["notes"])


def test_command_takes_no_base_for_a_family_that_had_another(tmp_path: Path) -> None:
    model = write_config(tmp_path, **RELEASED["Phi-4"])
    with pytest.raises(SpecError, match=r"Phi-4 had another .*2412\.08905.*give --pretrain-theta"):
        theory_command("--model", model)


def test_command_tells_families_that_differ_in_their_shape_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    qwen15 = RELEASED["Qwen2.5"] | {"hidden_size": 4096, "intermediate_size": 11008}
    medium = RELEASED["Phi-3 mini 4k"] | {"hidden_size": 5120, "intermediate_size": 17920}
    for config in (qwen15, medium):
        facts = theory_json(capsys, "--model", write_config(tmp_path, **config))
        assert "known of" not in str(facts["notes"])


def test_command_needs_a_base_that_tuning_may_have_changed(tmp_path: Path) -> None:
    model = write_config(tmp_path, **CONFIGS[0][0])
    with pytest.raises(SpecError, match=r"may be another since.*tune_length of 16384.*give --pre"):
        theory_command("--model", model, "--tune-length", "16k")
    extended = write_config(tmp_path, **CONFIGS[0][0], original_max_position_embeddings=2048)
    with pytest.raises(SpecError, match=r"extended from 2048 tokens\): give --pretrain-theta"):
        theory_command("--model", extended)


def test_command_flags_override_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nothing of a setting for each type of layer is read when the flags say all.
    model = write_config(
        tmp_path,
        head_dim=256,
        max_position_embeddings=131072,
        rope_parameters={"full_attention": {"rope_theta": 1e6}},
    )
    flags = ("--head-dim", "128", "--train-length", "4k", "--tune-length", "16k")
    facts = theory_json(
        capsys, "--model", model, *flags, "--rope-theta", "1e6", "--pretrain-theta", "1e4"
    )
    assert facts["head_dim"] == 128
    assert facts["train_length"] == 4096
    assert round(facts["extrapolation_bound"]) == 129027
    assert facts["notes"] == []


def test_command_gives_no_bound_to_a_scaled_rope(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = CONFIGS[0][0] | {"rope_theta": 50000}
    for scaling, bound in (({"rope_scaling": {"type": "linear", "factor": 2.0}}, None), ({}, 4096)):
        model = write_config(tmp_path, **{**flat, **scaling})
        facts = theory_json(capsys, "--model", model)
        assert facts["extrapolation_bound"] == bound
        assert (facts["effective_dimension"] is None) == (bound is None)
        assert facts["critical_dimension"] == 78
        assert theory_command("--model", model) == 0
        out = capsys.readouterr().out
        assert ("scales its frequencies (rope_type=linear)" in out) == (bound is None)


@pytest.mark.parametrize(
    ("missing", "flag"),
    [
        ("num_attention_heads", "--head-dim"),
        ("max_position_embeddings", "--train-length"),
        ("rope_theta", "--rope-theta"),
    ],
)
def test_command_names_the_flag_for_what_a_config_lacks(
    missing: str, flag: str, tmp_path: Path
) -> None:
    config = {key: value for key, value in CONFIGS[0][0].items() if key != missing}
    with pytest.raises(SpecError, match=f"{missing}.*give {flag}"):
        theory_command("--model", write_config(tmp_path, **config))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rope_theta": "big"}, DataError, "rope_theta must be a finite number, got 'big'"),
        ({"rope_theta": math.nan}, DataError, "rope_theta must be a finite number, got nan"),
        ({"rope_theta": 1}, SpecError, "theta must be finite and greater than 1"),
        ({"hidden_size": "4096"}, DataError, "hidden_size must be a positive integer"),
        ({"num_attention_heads": 0}, DataError, "num_attention_heads must be a positive integer"),
        ({"hidden_size": 96}, SpecError, "head_dim must be an even positive integer, got 3"),
        ({"partial_rotary_factor": 0}, SpecError, "head_dim must be .* got 0"),
        ({"max_position_embeddings": 4096.5}, DataError, "must be a positive integer, got 4096.5"),
        ({"rope_parameters": [1]}, DataError, "rope_parameters must be an object"),
        ({"rope_parameters": {"full": {}}}, SpecError, "each type of layer"),
    ],
)
def test_command_refuses_a_bad_config(
    change: dict[str, Any], error: type[RopeEvalError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        theory_command("--model", write_config(tmp_path, **{**CONFIGS[0][0], **change}))


def test_command_refuses_what_is_no_config(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*config\.json"):
        theory_command("--model", str(tmp_path))
    for content in (b"{", b"\xff\xfe", b""):
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(DataError, match="is not JSON"):
            theory_command("--model", str(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(DataError, match="it is a list"):
        theory_command("--model", str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--train-length 4k", "--head-dim is missing"),
        ("--head-dim 128", "--train-length is missing"),
        ("--head-dim 128 --train-length 4k", "--pretrain-theta is missing"),
        ("--head-dim 128 --train-length 4k --rope-theta 1e6", "--pretrain-theta is missing"),
        ("--head-dim 127 --train-length 4k --pretrain-theta 1e4", "head_dim must be an even"),
        ("--head-dim 128 --train-length 4q", "positive whole number of tokens.*'4q'"),
        ("--head-dim 128 --train-length 6", "train_length must be a finite number 7 or more"),
        (
            "--head-dim 128 --train-length 4k --rope-theta 1",
            "rope_theta must be a finite number greater than 1",
        ),
        ("--head-dim 128 --train-length 4k --rope-theta nan", "rope_theta must be a finite"),
        ("--head-dim 128 --train-length 4k --pretrain-theta 0", "pretrain_theta must be a finite"),
        (
            f"{LLAMA} --tune-length 2k",
            "tune_length must be at least",
        ),
        (
            f"{LLAMA} --target-length 5",
            "target_length must be at least 7",
        ),
        (
            f"{LLAMA} --target-length 1k --bases-per-decade 0",
            "bases_per_decade must be",
        ),
    ],
)
def test_command_bad_input(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SpecError, match=message):
        theory_command(*arguments.split())
    assert capsys.readouterr().out == ""


def test_command_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        theory_command("--help")
    assert caught.value.code == 0
    assert (
        "rope-eval theory --head-dim 128 --train-length 4k --pretrain-theta 10000\n"
        in capsys.readouterr().out
    )


def test_the_laws_need_the_standard_library_alone() -> None:
    code = (
        "import sys; import rope_eval.commands.theory; "
        "print(sorted({'torch', 'numpy', 'transformers', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
