"""`rope-eval tune`: a model of one's own, tuned or planned."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import ClusterConfig
from safetensors.torch import load_file, save
from transformers import AutoModelForCausalLM, LlamaConfig, TrainingArguments

from rope_eval.backends.config import rope_config
from rope_eval.backends.hf.patch import patched
from rope_eval.cli import main
from rope_eval.data.books import read_books
from rope_eval.rope.spec import RopeSpec
from rope_eval.tuning.presets import PAPER

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("book")
    (document,) = read_books("builtin")
    for number in range(3):
        part = document.text[number * 20_000 : number * 20_000 + 9_000]
        (folder / f"{number}.txt").write_text(part, encoding="utf-8")
    return folder


TUNE = (
    "tune --model model_configs/lab/pretrained --rope-theta 500 --tune-length 256 "
    "--rope train_length=128 --batch-size 4 --steps 3 --learning-rate 1e-3"
)


def _record(folder: Path) -> Any:
    return json.loads((folder / "record.json").read_text())


def test_any_model_is_tuned_on_windows_of_any_text(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    words = [*TUNE.split(), "--text", str(book), "--output", str(tmp_path)]
    assert main(words) == 0
    out = tmp_path / "base-500-256"
    assert capsys.readouterr().err.endswith(f"Wrote {tmp_path}/base-500-256\n")
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.config.rope_parameters == {"rope_type": "default", "rope_theta": 500.0}
    assert model.config.max_position_embeddings == 256
    assert model.config.use_cache
    assert [path.name for path in tmp_path.iterdir()] == ["base-500-256"]
    record = _record(out)
    assert record["recipe"]["batch_size"] == 4
    assert record["text"]["windows"] == 12
    before = AutoModelForCausalLM.from_pretrained(ROOT / "model_configs/lab/pretrained")
    ids = torch.tensor([[256, *(book / "1.txt").read_bytes()[:255]]])
    with torch.no_grad(), patched(before, RopeSpec(rope_theta=500)):
        old = before(input_ids=ids, labels=ids).loss
    with torch.no_grad():
        new = model(input_ids=ids, labels=ids).loss
    assert new < old - 0.05

    assert main(["theory", "--model", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    known = ("pretrain_theta", "train_length", "tune_length", "rope_theta")
    assert [facts[name] for name in known] == [10000, 128, 256, 500]
    assert facts["laws"]["tune_length"]["source"] == "the record of rope-eval tune in the config"
    loaded = rope_config(model.config).laws.to_dict()
    assert loaded == facts["laws"]
    given = rope_config(model.config).laws.under(RopeSpec(tune_length=512)).to_dict()
    assert (given["tune_length"]["value"], given["pretrain_theta"]["value"]) == (512, 10000)

    written = (out / "model.safetensors").stat().st_mtime_ns
    assert main(words) == 0
    assert "is there already, by this recipe: left alone\n" in capsys.readouterr().err
    assert (out / "model.safetensors").stat().st_mtime_ns == written
    assert main([*words, "--seed", "5", "--text", "README.md"]) == 2
    said = capsys.readouterr().err
    assert "was made with seed 0, not 5; text " in said
    assert "not README.md: nothing was written" in said
    (out / "record.json").unlink()
    assert main(words) == 2
    assert "it has no record.json of a tuning" in capsys.readouterr().err
    assert main([*words, "--force", "--tune-length", "64k"]) == 2
    assert "too few for one window of 65537" in capsys.readouterr().err


def test_two_processes_train_what_one_does(book: Path, tmp_path: Path) -> None:
    words = [*TUNE.split(), "--text", str(book), "--output"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    launcher = [str(Path(sys.executable).parent / "torchrun"), "--nproc_per_node", "2"]
    for name, program in (("one", [sys.executable]), ("two", launcher)):
        done = subprocess.run(
            [*program, "-m", "rope_eval", *words, str(tmp_path / name)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    records = [_record(tmp_path / name / "base-500-256") for name in ("one", "two")]
    assert [record["devices"] for record in records] == [1, 2]
    one, two = (
        load_file(tmp_path / name / "base-500-256" / "model.safetensors") for name in ("one", "two")
    )
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], atol=1e-4, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "give what to tune: --model DIR and --text SRC"),
        ("--preset paper-7b --steps 0", "--steps must be 1 or more, got 0"),
        ("--preset paper-7b --batch-size 0", "--batch-size must be 1 or more, got 0"),
        ("--preset paper-7b --seed -1", "from 0 to .* got -1"),
        ("--preset paper-8b", "Did you mean 'paper-7b'"),
        ("--preset paper-7b --dry-run --learning-rate -1", "above 0, got -1"),
        ("--preset paper-7b --dry-run --learning-rate nan", "above 0, got nan"),
        ("--preset paper-7b", "give --model DIR and --text SRC"),
        ("--model model_configs/lab/base-20 --text nowhere", "no books at 'nowhere'"),
        ("--model nowhere/at/all --text README.md", "no model directory"),
        ("--preset paper-7b --rope-theta 5 --rope rope_theta=6", "rope_theta is given twice"),
        ("--preset paper-7b --tune-length 8k --rope tune_length=4096", "and as --tune-length"),
    ],
)
def test_bad_options_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    output = tmp_path / "tuned"
    assert main(["tune", "--output", str(output), *words.split()]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not output.exists()


def test_help_and_plans_do_not_load_torch() -> None:
    code = (
        "import sys; from rope_eval.cli import main\n"
        "try: main(['tune', '--help'])\n"
        "except SystemExit: pass\n"
        "main(['tune', '--preset', 'paper-7b', '--steps', '0'])\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "rope-eval tune --preset paper-7b --rope-theta 1e6 --dry-run" in result.stdout
    assert result.stdout.endswith("[]\n")


# --- dry runs


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str]) -> Callable[[str], Any]:
    def run(words: str) -> Any:
        assert main(["tune", "--dry-run", *words.split()]) == 0
        return yaml.safe_load(capsys.readouterr().out)

    return run


@pytest.mark.parametrize("preset", PAPER)
def test_a_dry_run_is_what_transformers_and_accelerate_read(
    plan: Callable[[str], Any], preset: str, tmp_path: Path
) -> None:
    facts = plan(f"--preset {preset} --rope-theta 1e6")
    devices = facts["accelerate"]["num_processes"]
    given = facts["training_arguments"]
    assert devices == 32 and facts["accelerate"]["num_machines"] == 4
    each = given["per_device_train_batch_size"] * given["gradient_accumulation_steps"]
    assert each * devices == PAPER[preset].batch_size == facts["windows_per_step"]
    assert facts["tokens"] == 1000 * 128 * 4096
    assert facts["rope"]["rope_theta"] == 1e6

    given["bf16"] = False  # no such device in a test
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, **given)
    assert (arguments.adam_beta1, arguments.adam_beta2, arguments.weight_decay) == (0.9, 0.999, 0)
    assert (arguments.learning_rate, arguments.warmup_steps) == (2e-5, 0)
    assert arguments.max_grad_norm == (1.0 if "13b" in preset else 2.5)
    file = tmp_path / "accelerate.yaml"
    file.write_text(yaml.safe_dump(facts["accelerate"]))
    read = ClusterConfig.from_yaml_file(str(file))
    assert read.deepspeed_config["zero_stage"] == 3
    assert read.deepspeed_config["deepspeed_multinode_launcher"] == "standard"


def test_the_launch_command_does_what_was_asked(plan: Callable[[str], Any]) -> None:
    model = ROOT / "model_configs" / "lab" / "base-1e5"
    facts = plan(
        f"--preset paper-7b-pi --model {model} --rope linear_factor=4 --rope-theta 1234567 "
        "--steps 50 --learning-rate 1e-4 --seed 3 --batch-size 100 --text a.txt"
    )
    launch = shlex.split(facts["launch"])
    assert launch[:2] == ["accelerate", "launch"]
    words = launch[launch.index("tune") + 1 :]
    assert "--gradient-checkpointing" in words
    assert plan(shlex.join(words)) == facts
    assert facts["accelerate"]["num_processes"] == 25
    assert facts["accelerate"]["num_machines"] == 4
    assert facts["rope"] == {
        "rope_theta": 1234567,
        "linear_factor": 4,
        "pretrain_theta": 1e5,
        "train_length": 128,
        "tune_length": 8192,
    }


def test_a_dry_run_of_interpolation_says_so_when_launched(plan: Callable[[str], Any]) -> None:
    facts = plan("--preset paper-7b-pi --rope linear_factor=4")
    assert facts["rope"]["linear_factor"] == 4
    assert "--rope linear_factor=4.0,pretrain_theta=10000.0,train_length=4096" in facts["launch"]


def test_a_batch_that_does_not_divide_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", "--preset", "paper-7b", "--dry-run", "--accumulation", "3"]
    assert main(words) == 2
    assert "does not divide" in capsys.readouterr().err


def test_the_laws_are_told_the_base_of_pre_training(
    plan: Callable[[str], Any], tmp_path: Path
) -> None:
    config = LlamaConfig(
        max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
    )
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(save({}))
    facts = plan(f"--model {tmp_path} --rope-theta 1e6 --text x")
    assert facts["rope"] == {
        "rope_theta": 1e6,
        "pretrain_theta": 5e5,
        "train_length": 64,
        "tune_length": 64,
    }
    assert facts["windows_per_step"] == 128 * 4096 // 64


def test_what_is_given_wins_over_the_models_config_and_is_launched(
    plan: Callable[[str], Any],
) -> None:
    model = ROOT / "model_configs" / "lab" / "base-1e5"
    words = f"--preset paper-7b-pi --model {model} --text x"
    assert plan(words)["rope"]["pretrain_theta"] == 1e5
    facts = plan(f"{words} --rope pretrain_theta=10000,linear_factor=1")
    assert facts["rope"] == {"pretrain_theta": 1e4, "train_length": 128, "tune_length": 8192}
    launch = shlex.split(facts["launch"])
    assert plan(shlex.join(launch[launch.index("tune") + 1 :])) == facts
