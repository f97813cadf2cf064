"""`rope-eval theory` through argparse."""

from __future__ import annotations

import argparse
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


def test_command_fits_measured_contexts(capsys: pytest.CaptureFixture[str]) -> None:
    flags = (*LLAMA2_FLAGS, "--tune-length", "16k", "--rope-theta", "1e6")
    facts = theory_json(capsys, *flags, "--measured", "118784")  # Code LLaMA 7B's published curve
    fit = facts["fitted_critical_dimension"]
    assert fit["dimensions"] == pytest.approx(128 * math.log(118784 / 2 / math.pi, 1e6))
    assert fit["pairs"] == pytest.approx(45.6, abs=0.05)
    assert facts["slowdown"][-1] == pytest.approx(100 ** (126 / 128))

    both = ("--measured", "12762", "--measured", "1e6=129027")
    facts = theory_json(capsys, *LLAMA2_FLAGS, "--rope-theta", "4e4", *both)
    assert facts["fitted_critical_dimension"]["dimensions"] == pytest.approx(92, abs=1e-3)

    assert theory_command(*LLAMA2_FLAGS, "--rope-theta", "4e4", *both) == 0
    (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("fitted"))
    assert "46.0 pairs for 46 by theory" in line and "lies off by ×1.00" in line


def test_command_says_where_bases_are_feasible(capsys: pytest.CaptureFixture[str]) -> None:
    flags = (*LLAMA2_FLAGS, "--rope-theta", "1e5", "--target-length", "8k")
    facts = theory_json(capsys, *flags)
    assert f"{facts['feasible_from']:.2e}" == "3.94e+05"  # infeasible ones come back up to 3.9e5
    assert facts["slivers"][0]["low"] == facts["base_lower_bound"]
    assert 0 < facts["feasible_share"] < 1
    assert facts["fitted_base_bound"] == theory.fitted_base_bound(8192)
    disturbance = facts["angle_disturbance"]
    assert round(1 - disturbance["less of both"] / disturbance["interpolated"], 2) == 0.72
    assert theory_command(*flags) == 0
    out = capsys.readouterr().out
    assert re.search(r"feasible from +3.94e\+05  every base from there to 8.4e\+05", out)


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


def test_command_reads_a_row_of_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    facts = theory_json(capsys, "--config", "lab/base-1e6")
    assert facts["rope_theta"] == 1e6
    assert facts["pretrain_theta"] == 1e4  # the row's: the checkpoint says its own base alone
    assert round(facts["extrapolation_bound"]) == 726
    other = theory_json(capsys, "--config", "lab/base-1e6", "--rope-theta", "5e5")
    assert (other["rope_theta"], other["tune_length"]) == (5e5, 128)
    with pytest.raises(DataError, match=r"no row 'lab/base-1e7'\. Did you mean"):
        theory_command("--config", "lab/base-1e7")


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


@pytest.mark.parametrize("words", ["x=4k", "x", "4k --measured 5k", "6"])
def test_a_measured_context_that_is_none_is_refused(words: str) -> None:
    with pytest.raises(SpecError):
        theory_command(*LLAMA2_FLAGS, "--measured", *words.split())


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
