"""The lab's training: recipes, windows, Trainer, checkpoints, and `rope-eval lab train`."""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import ClusterConfig
from safetensors.torch import save
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    TrainingArguments,
)

from rope_eval.backends.hf.patch import patched
from rope_eval.cli import main
from rope_eval.data.books import read_books
from rope_eval.errors import DataError, SpecError, UnsupportedModelError
from rope_eval.rope.spec import RopeSpec
from rope_eval.theory import critical_base, critical_dimension, pivot_bases
from rope_eval.tuning.recipes import PAPER, Recipe, tuning_name
from rope_eval.tuning.training import batch_of, configure, train
from studies.scaling_laws import (
    BOUNDARY_ID,
    GRIDS,
    SHIPPED,
    TrainingText,
    build_model,
    make_checkpoint,
)
from studies.scaling_laws.grids import LAB
from studies.scaling_laws.model import load_weights
from studies.scaling_laws.retrieval_text import filler_bytes, plant
from studies.scaling_laws.windows import LabWindows

ROOT = Path(__file__).parents[2]
GRID = GRIDS["lab"]
TINY = Recipe(
    name="tiny",
    rope=RopeSpec(rope_theta=10_000.0, train_length=32),
    start_from=None,
    steps=3,
    batch_size=8,
    learning_rate=1e-3,
)


def _text(content: bytes = b"import os\nprint(os.name)\n" * 40) -> TrainingText:
    tokens = torch.tensor([BOUNDARY_ID, *content])
    return TrainingText(tokens=tokens, files=1, held_out=(), sha256="0" * 64)


def _windows(recipe: Recipe, text: TrainingText | None = None) -> LabWindows:
    tokens = (text or _text()).tokens
    count = recipe.steps * recipe.batch_size
    return LabWindows(tokens, length=recipe.length, count=count, seed=recipe.seed)


def _trained(recipe: Recipe, folder: Path, **more: Any) -> tuple[Any, list[float]]:
    model = build_model(
        rope_theta=recipe.rope.rope_theta or 1e4, train_length=recipe.length, seed=recipe.seed
    )
    rope = configure(model.config, recipe.rope)
    losses: list[float] = []
    train(
        model,
        _windows(recipe),
        recipe,
        folder,
        text="",
        rope=rope,
        on_step=lambda _, loss: losses.append(loss),
        **more,
    )
    return model, losses


def _weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


# --- recipes


def test_the_grid_is_what_the_findings_need() -> None:
    names = [recipe.name for recipe in LAB]
    assert len(set(names)) == len(names) == 37
    assert set(SHIPPED) <= set(names)
    assert GRID.with_retrieval | GRID.with_attention <= set(names)
    at: dict[int, list[float]] = {}
    for recipe in LAB[1:]:
        assert recipe.rope.rope_theta is not None
        if recipe.rope.beyond_critical == "keep" and recipe.seed == 0:
            at.setdefault(recipe.length, []).append(recipe.rope.rope_theta)
        assert recipe.batch_size * recipe.length == LAB[0].batch_size * LAB[0].length
    assert {round(base) for base in pivot_bases(128)} < set(at[128])
    assert min(at[128]) < min(pivot_bases(128)) and max(at[128]) == 1e6
    assert len(at[128]) >= 9 and len(at[512]) >= 6
    for length in (256, 512):
        edge = critical_base(128, length)
        assert min(at[length]) < edge < max(at[length])
        assert any(edge < base < 1.02 * edge for base in at[length])


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_every_recipe_comes_after_what_it_starts_from(grid: Any) -> None:
    made: set[str | None] = {None}
    for recipe in grid.recipes:
        assert recipe.start_from in made
        made.add(recipe.name)


def test_a_recipe_reads_back() -> None:
    for recipe in (*LAB, *PAPER.values()):
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_the_papers_recipes_are_those_of_b1() -> None:
    shapes = {"": (4096, 128), "-16k": (16384, 32), "-pi": (8192, 64)}
    assert len(PAPER) == 6
    for size, norm in (("7b", 2.5), ("13b", 1.0)):
        for suffix, (length, batch) in shapes.items():
            recipe = PAPER[f"paper-{size}{suffix}"]
            assert (recipe.length, recipe.batch_size) == (length, batch)
            assert (recipe.steps, recipe.learning_rate, recipe.warmup_steps) == (1000, 2e-5, 0)
            assert (recipe.schedule, recipe.max_grad_norm) == ("constant", norm)
            assert (recipe.rope.linear_factor != 1.0) == (suffix == "-pi")


# --- windows


def test_a_window_follows_from_the_seed_and_its_number_alone() -> None:
    windows = _windows(replace(TINY, steps=100))
    again = _windows(replace(TINY, steps=100))
    other = _windows(replace(TINY, steps=100, seed=1))
    rows = [windows[i]["tokens"] for i in range(len(windows))]
    assert all(torch.equal(again[i]["tokens"], rows[i]) for i in (799, 3, 0))
    assert sum(torch.equal(other[i]["tokens"], rows[i]) for i in range(800)) < 40
    assert {row.shape for row in rows} == {(33,)}
    with pytest.raises(IndexError):
        windows[800]


def test_half_the_windows_ask_for_what_they_hold() -> None:
    rows = [bytes(row["tokens"].clamp(max=255).tolist()) for row in _rows(400)]
    asking = [row for row in rows if b"@" in row]
    assert 0.35 < len(asking) / len(rows) < 0.65  # a few facts are cut off at the end
    answered = 0
    for row in asking:
        place = row.index(b"@")
        key, value = row[place + 1 : place + 2], row[place + 2 : place + 4]
        asked = row.find(b"?" + key, place)
        if 0 < asked < len(row) - 3:
            answered += 1
            assert row[asked + 2 : asked + 4] == value
    assert answered > 100


def _rows(count: int) -> list[dict[str, torch.Tensor]]:
    windows = _windows(replace(TINY, rope=replace(TINY.rope, train_length=128), steps=count))
    return [windows[i] for i in range(count)]


def test_a_window_ends_anywhere() -> None:
    import random

    ends = Counter(plant(random.Random(i), b"word word\n" * 30, 129)[-1:] for i in range(400))
    assert 0.02 < ends[b"\n"] / 400 < 0.35  # a line end in ten bytes, and the planted lines'
    assert len(ends) > 5
    assert filler_bytes(129) <= 300


def test_a_batch_has_a_target_for_every_input() -> None:
    batch = batch_of([{"tokens": torch.arange(5)}, {"tokens": torch.arange(5, 10)}])
    assert batch["input_ids"].tolist() == [[0, 1, 2, 3], [5, 6, 7, 8]]
    assert batch["shift_labels"].tolist() == [[1, 2, 3, 4], [6, 7, 8, 9]]


# --- training


def test_a_step_is_adamw_on_the_mean_loss_with_the_gradient_clipped(tmp_path: Path) -> None:
    recipe = replace(TINY, steps=1, max_grad_norm=0.5)
    model, losses = _trained(recipe, tmp_path)

    start = build_model(rope_theta=10_000.0, train_length=32, seed=0)
    windows = _windows(recipe)
    rows = torch.stack([windows[i]["tokens"] for i in range(8)])
    logits = start(input_ids=rows[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
    assert losses == pytest.approx([loss.item()], abs=1e-3)
    torch.autograd.backward(loss)
    norm = math.sqrt(sum(p.grad.double().pow(2).sum() for p in start.parameters()))
    assert norm > 0.5
    for (name, parameter), trained in zip(
        start.named_parameters(), model.parameters(), strict=True
    ):
        gradient = parameter.grad * (0.5 / (norm + 1e-6))
        step = 1e-3 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
        sure = gradient.abs() > 1e-7  # elsewhere the step is eps and rounding
        torch.testing.assert_close(
            trained[sure], (parameter - step)[sure], atol=2e-5, rtol=0, msg=name
        )


def test_learning_rates_are_the_recipes(tmp_path: Path) -> None:
    cosine = replace(TINY, steps=10, schedule="cosine", warmup_steps=2)
    for recipe, wanted in ((TINY, [1e-3] * 3), (cosine, [0.0, 5e-4, 1e-3, *[None] * 7])):
        model = build_model(rope_theta=1e4, train_length=32, seed=0)
        trainer = train(model, _windows(recipe), recipe, tmp_path / recipe.schedule, text="")
        rates = [
            float(row["learning_rate"])
            for row in trainer.state.log_history
            if "learning_rate" in row
        ]
        assert len(rates) == recipe.steps
        for rate, want in zip(rates, wanted, strict=True):
            assert want is None or rate == pytest.approx(want, rel=1e-3)
    assert 1e-4 < rates[-1] < 1.5e-4  # the cosine ends at a tenth of the peak


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_one_alone(
    tmp_path: Path,
) -> None:
    state = torch.random.get_rng_state()
    model, losses = _trained(TINY, tmp_path / "a")
    again, losses_again = _trained(TINY, tmp_path / "b")
    other, _ = _trained(replace(TINY, seed=1), tmp_path / "c")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert losses == losses_again
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)


def test_training_learns_and_the_base_is_live(tmp_path: Path) -> None:
    recipe = replace(TINY, steps=12, learning_rate=2e-3)
    _, losses = _trained(recipe, tmp_path / "a")
    rope = replace(recipe.rope, rope_theta=20.0)
    _, other = _trained(replace(recipe, rope=rope), tmp_path / "b")
    assert losses[0] == pytest.approx(math.log(257), abs=0.2)
    assert losses[-1] < losses[0] - 1.5
    assert losses != other


def test_an_interrupted_training_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopTrainingError(Exception):
        pass

    def stop(step: int, _: float) -> None:
        if step == 5:
            raise StopTrainingError

    recipe = replace(TINY, steps=8, schedule="cosine", warmup_steps=2)
    whole, _ = _trained(recipe, tmp_path / "whole", save_steps=3)
    for text, first in (("same", 4), ("other", 1)):
        folder = tmp_path / text
        model = build_model(rope_theta=1e4, train_length=32, seed=0)
        with pytest.raises(StopTrainingError):
            train(model, _windows(recipe), recipe, folder, text="same", on_step=stop, save_steps=3)
        model = build_model(rope_theta=1e4, train_length=32, seed=0)
        steps: list[int] = []
        train(
            model,
            _windows(recipe),
            recipe,
            folder,
            text=text,
            on_step=lambda step, _: steps.append(step),  # noqa: B023
        )
        assert steps == list(range(first, 9))
        for name, tensor in whole.state_dict().items():
            torch.testing.assert_close(tensor, model.state_dict()[name], atol=1e-6, rtol=0)


def test_dropped_dimensions_are_dropped_in_training(tmp_path: Path) -> None:
    recipe = replace(TINY, steps=4, rope=replace(TINY.rope, beyond_critical="drop"))
    model, losses = _trained(recipe, tmp_path / "drop")
    _, kept = _trained(replace(recipe, rope=TINY.rope), tmp_path / "keep")
    assert losses != kept
    kept_pairs = critical_dimension(64, 32) // 2
    start = build_model(rope_theta=1e4, train_length=32, seed=0)
    for layer, before in zip(model.model.layers, start.model.layers, strict=True):
        for name in ("q_proj", "k_proj"):
            moved = (
                getattr(layer.self_attn, name).weight - getattr(before.self_attn, name).weight
            ).abs()
            by_dimension = moved.reshape(2, 64, -1).amax((0, 2))
            pairs = torch.maximum(by_dimension[:32], by_dimension[32:])
            assert (pairs[:kept_pairs] > 0).all()
            assert (pairs[kept_pairs:] == 0).all()  # no gradient reaches them


# --- what a config can say


def test_a_config_takes_base_and_interpolation_and_returns_the_rest() -> None:
    config = LlamaConfig(max_position_embeddings=64)
    assert configure(config, RopeSpec(rope_theta=500, linear_factor=2, tune_length=128)) is None
    assert config.rope_parameters == {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0}
    assert config.max_position_embeddings == 128
    rest = configure(config, RopeSpec(rope_theta=50, beyond_critical="drop", train_length=64))
    assert rest == RopeSpec(beyond_critical="drop", train_length=64)
    with pytest.raises(SpecError, match="rope_type linear"):
        configure(config, RopeSpec(linear_factor=4))
    for other in (GPT2Config(), Gemma3TextConfig()):
        with pytest.raises(UnsupportedModelError, match="no single rotary base"):
            configure(other, RopeSpec(rope_theta=500))


def test_the_laws_are_told_the_base_of_pre_training(
    plan: Callable[[str], Any], tmp_path: Path
) -> None:
    config = LlamaConfig(
        max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
    )
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(save({}))
    facts = plan(f"--base-model {tmp_path} --rope-theta 1e6 --text x")
    assert facts["rope"] == {
        "rope_theta": 1e6,
        "pretrain_theta": 5e5,
        "train_length": 64,
        "tune_length": 64,
    }
    assert facts["windows_per_step"] == 128 * 4096 // 64


# --- checkpoints


def test_checkpoint_loads_as_stored_in_float32_with_its_tokenizer_and_record(
    tmp_path: Path,
) -> None:
    steps: list[int] = []
    recipe = replace(TINY, rope=replace(TINY.rope, rope_theta=77.0))
    record = make_checkpoint(
        recipe, GRID, _text(), tmp_path / "lab", on_step=lambda step, _: steps.append(step)
    )
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "lab/tiny")
    trained, losses = _trained(recipe, tmp_path / "states")

    assert steps == [1, 2, 3]
    assert loaded.dtype == torch.float32
    assert loaded.config.rope_parameters == {"rope_type": "default", "rope_theta": 77.0}
    assert loaded.config.max_position_embeddings == 32
    assert loaded.config.use_cache
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name].half().float()), name
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "lab/tiny")
    assert tokenizer("é").input_ids == [BOUNDARY_ID, *"é".encode()]
    assert tokenizer.decode([32, 46, 32, 44]) == " . ,"
    assert json.loads((tmp_path / "lab/tiny/record.json").read_text()) == record
    assert record["final_loss"]["nats"] == pytest.approx(sum(losses) / 3, abs=1e-3)
    assert Recipe.from_dict(record["recipe"]) == recipe
    assert [path.name for path in (tmp_path / "lab").iterdir()] == ["tiny"]


def test_tuning_starts_from_the_stored_weights(tmp_path: Path) -> None:
    make_checkpoint(TINY, GRID, _text(), tmp_path)
    tuned = replace(TINY, name="tuned", start_from="tiny", steps=1, learning_rate=0.0)
    make_checkpoint(tuned, GRID, _text(), tmp_path)
    first, second = (load_weights(tmp_path / name) for name in ("tiny", "tuned"))
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    with pytest.raises(DataError, match="nowhere"):
        make_checkpoint(replace(tuned, start_from="nowhere"), GRID, _text(), tmp_path)


# --- the command, on a grid


@pytest.fixture
def on_little_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.scaling_laws.text.training_text", lambda root: _text())


def _record(folder: Path) -> Any:
    return json.loads((folder / "record.json").read_text())


@pytest.mark.usefixtures("on_little_text")
def test_command_trains_what_was_named_once_and_never_overwrites_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = tmp_path / "lab"
    words = ["lab", "train", "--output", str(lab), "--steps", "1"]
    named = ["--only", "base-1e5-drop", "pretrained"]
    assert main([*words, *named]) == 0
    assert sorted(path.name for path in lab.iterdir()) == ["base-1e5-drop", "pretrained"]
    first = _record(lab / "pretrained")
    assert (first["recipe"]["steps"], first["recipe"]["seed"]) == (1, 0)
    assert _record(lab / "base-1e5-drop")["recipe"]["rope"]["beyond_critical"] == "drop"

    assert main([*words, *named, "base-20"]) == 0  # the same command goes on
    assert "Left alone" in capsys.readouterr().err
    assert _record(lab / "pretrained") == first
    assert (lab / "base-20").is_dir()

    assert main([*words, *named, "--seed", "7"]) == 2
    assert "made by another recipe" in capsys.readouterr().err
    assert _record(lab / "pretrained") == first
    assert main([*words, "--seed", "7", "--only", "pretrained", "--force"]) == 0
    assert _record(lab / "pretrained")["recipe"]["seed"] == 7
    assert main([*words, "--only", "base-20"]) == 2  # its start is no longer what it was
    assert "from other weights" in capsys.readouterr().err


@pytest.mark.usefixtures("on_little_text")
def test_a_seed_is_added_to_a_grids_own(tmp_path: Path) -> None:
    names = ["pretrained", "base-20", "base-20-seed2"]
    words = ["lab", "train", "--output", str(tmp_path), "--steps", "1", "--only", *names]
    assert main([*words, "--seed", "5"]) == 0
    assert [_record(tmp_path / name)["recipe"]["seed"] for name in names] == [5, 5, 7]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--only base-20x", "Did you mean 'base-20'"),
        ("--only base-20", "tuned from pretrained"),
        ("--steps 0", "at least 1, got 0"),
        ("--seed -1", "from 0 to .* got -1"),
        ("--preset paper-8b", "Did you mean 'paper-7b'"),
        ("--batch-size 4", "--batch-size is for tuning a model of your own"),
        ("--preset paper-7b --dry-run --learning-rate -1", "above 0, got -1"),
        ("--preset paper-7b --dry-run --learning-rate nan", "above 0, got nan"),
        ("--base-model model_configs/lab/base-20 --text nowhere", "no books at 'nowhere'"),
        ("--rope-theta 500", "--rope-theta is for tuning a model of your own"),
        ("--preset paper-7b", "give --base-model DIR and --text SRC"),
        ("--preset paper-7b --only base-20", "--only names checkpoints of a grid"),
        ("--base-model nowhere/at/all --text README.md", "no model directory"),
    ],
)
def test_bad_options_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    import re

    output = tmp_path / "lab"
    assert main(["lab", "train", "--output", str(output), *words.split()]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not output.exists()


@pytest.mark.usefixtures("on_little_text")
def test_a_file_in_the_place_of_the_output_is_an_error_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("studies.scaling_laws.checkpoints.make_checkpoint", None)
    (tmp_path / "lab").touch()
    assert main(["lab", "train", "--output", str(tmp_path / "lab")]) == 1
    assert "Cannot make the folder" in capsys.readouterr().err


def test_help_and_bad_options_do_not_load_torch() -> None:
    code = (
        "import sys; from rope_eval.cli import main\n"
        "try: main(['lab', 'train', '--help'])\n"
        "except SystemExit: pass\n"
        "main(['lab', 'train', '--steps', '0'])\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "rope-eval lab train --output lab" in result.stdout
    assert result.stdout.endswith("[]\n")


# --- the command, on a model of one's own


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("book")
    (document,) = read_books("builtin")
    for number in range(3):
        part = document.text[number * 20_000 : number * 20_000 + 9_000]
        (folder / f"{number}.txt").write_text(part, encoding="utf-8")
    return folder


TUNE = (
    "lab train --base-model model_configs/lab/pretrained --rope-theta 500 --tune-length 256 "
    "--rope train_length=128 --batch-size 4 --steps 3 --learning-rate 1e-3"
)


def test_any_model_is_tuned_on_windows_of_any_text(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    words = [*TUNE.split(), "--text", str(book), "--output", str(tmp_path)]
    assert main(words) == 0
    out = tmp_path / "base-500-256"
    assert "--rope train_length=128,tune_length=256" in capsys.readouterr().err
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.config.rope_parameters == {"rope_type": "default", "rope_theta": 500.0}
    assert model.config.max_position_embeddings == 256
    assert model.config.use_cache
    assert [path.name for path in tmp_path.iterdir()] == ["base-500-256"]
    record = _record(out)
    assert record["recipe"]["batch_size"] == 4
    assert record["text"]["windows"] == 12
    before = AutoModelForCausalLM.from_pretrained(ROOT / "model_configs/lab/pretrained")
    ids = torch.tensor([[BOUNDARY_ID, *(book / "1.txt").read_bytes()[:255]]])
    with torch.no_grad(), patched(before, RopeSpec(rope_theta=500)):
        old = before(input_ids=ids, labels=ids).loss
    with torch.no_grad():
        new = model(input_ids=ids, labels=ids).loss
    assert new < old - 0.05

    assert main(words) == 2
    assert "is there already" in capsys.readouterr().err
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
    one, two = (load_weights(tmp_path / name / "base-500-256") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], atol=1e-4, rtol=0, msg=name)


# --- dry runs


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str]) -> Callable[[str], Any]:
    def run(words: str) -> Any:
        assert main(["lab", "train", "--dry-run", *words.split()]) == 0
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
        f"--preset paper-7b-pi --base-model {model} --rope linear_factor=4 --rope-theta 1234567 "
        "--steps 50 --learning-rate 1e-4 --seed 3 --batch-size 100 --text a.txt"
    )
    launch = shlex.split(facts["launch"])
    assert launch[:2] == ["accelerate", "launch"]
    words = launch[launch.index("train") + 1 :]
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
    assert "--rope linear_factor=4,pretrain_theta=10000,train_length=4096" in facts["launch"]


def test_a_default_that_is_given_is_kept_and_said_when_launched(plan: Callable[[str], Any]) -> None:
    model = ROOT / "model_configs" / "lab" / "base-1e5"
    facts = plan(
        f"--preset paper-7b-pi --base-model {model} --rope pretrain_theta=10000,linear_factor=1"
    )
    assert facts["rope"] == {"train_length": 128, "tune_length": 8192}
    launch = shlex.split(facts["launch"])
    again = plan(shlex.join(launch[launch.index("train") + 1 : launch.index("--text")]))
    assert again["rope"] == facts["rope"]


def test_a_dry_run_of_the_grid_lists_its_recipes(plan: Callable[[str], Any]) -> None:
    facts = plan("--only base-1e7-512 base-20")
    assert [row["name"] for row in facts["checkpoints"]] == ["base-20", "base-1e7-512"]
    assert facts["checkpoints"][1]["training_arguments"]["per_device_train_batch_size"] == 8
    assert facts["tokens"] == 2 * 400 * 32 * 128


def test_a_batch_that_does_not_divide_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["lab", "train", "--preset", "paper-7b", "--dry-run", "--accumulation", "3"]
    assert main(words) == 2
    assert "does not divide" in capsys.readouterr().err


def test_names_of_tuned_checkpoints() -> None:
    assert tuning_name(RopeSpec(rope_theta=83_000, tune_length=256)) == "base-83e3-256"
    assert tuning_name(RopeSpec(train_length=4096)) == "own-base-4096"
