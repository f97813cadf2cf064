"""The embedded lab: tokenizer, text, training, command, and the weights that are shipped."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from rope_eval.commands import lab as command
from rope_eval.errors import DataError, SpecError, StoreError
from rope_eval.lab import (
    BOUNDARY,
    BOUNDARY_ID,
    RECIPES,
    Recipe,
    TrainingText,
    build_model,
    build_tokenizer,
    make_checkpoint,
    train,
    training_text,
)
from rope_eval.lab.text import is_held_out
from rope_eval.theory import extrapolation_bound

SHIPPED = Path(__file__).parents[1] / "model_configs"
NAMES = [recipe.name for recipe in RECIPES]
TINY = Recipe(name="tiny", rope_theta=10_000.0, start_from=None, steps=3, train_length=32)
TEXTS = [
    "def f(x):\n    return x  # done.\n",
    " a b  c \n\n , . 's don't \t\r\n ",
    "é A\u030a 漢字 🙂 \u200b\u2028\u2029 ﬁ \x00\x01\x7f\ufeff\U0010ffff",
    "".join(map(chr, range(0x100))),
    "",
]


def _text(content: bytes = b"import os\nprint(os.name)\n" * 40) -> TrainingText:
    tokens = torch.tensor([BOUNDARY_ID, *content])
    return TrainingText(tokens=tokens, files=1, held_out=(), sha256="0" * 64)


def _weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _args(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["lab", "train", *words])


# --- tokenizer


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_the_bytes_and_decode_exactly(text: str) -> None:
    tokenizer = build_tokenizer()
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert ids == list(text.encode())
    assert tokenizer.decode(ids) == text
    assert tokenizer(text).input_ids == [BOUNDARY_ID, *ids]
    assert tokenizer.decode([BOUNDARY_ID, *ids], skip_special_tokens=True) == text


def test_boundary_is_every_special_token_and_the_last_id() -> None:
    tokenizer = build_tokenizer()
    specials = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    assert specials == {BOUNDARY_ID}
    assert tokenizer(BOUNDARY, add_special_tokens=False).input_ids == [BOUNDARY_ID]
    assert len(tokenizer) == BOUNDARY_ID + 1


# --- text


def _library(root: Path) -> Path:
    names = ["b.py", "a/d.py", "ast.py", "notes.txt", "test/t.py", "a/tests/t.py", "empty.py"]
    names += ["site-packages/s.py", "encodings/e.py", "pydoc_data/topics.py"]
    names += ["config-3.11-x/python-config.py", "_sysconfigdata__linux.py"]
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty.py" else f"<{name}>".encode())
    return root


def test_stream_is_each_module_after_a_boundary_without_the_left_out_and_held_out(
    tmp_path: Path,
) -> None:
    root = _library(tmp_path / "stdlib")
    text = training_text(root)
    expected = [BOUNDARY_ID, *b"<a/d.py>", BOUNDARY_ID, *b"<b.py>", BOUNDARY_ID]
    assert text.tokens.tolist() == expected
    assert text.tokens.dtype == torch.int64
    assert text.files == 3
    assert text.held_out == (root / "ast.py",)


def test_digest_follows_the_contents_and_not_the_place(tmp_path: Path) -> None:
    here, there = _library(tmp_path / "here"), _library(tmp_path / "there")
    assert training_text(here).sha256 == training_text(there).sha256
    (there / "b.py").write_bytes(b"<b.px>")
    assert training_text(here).sha256 != training_text(there).sha256


def test_no_sources_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no Python sources"):
        training_text(tmp_path)


def test_one_file_in_twenty_is_held_out() -> None:
    held_out = sum(is_held_out(f"module_{number}.py") for number in range(20_000))
    assert held_out / 20_000 == pytest.approx(13 / 256, abs=0.005)  # 0, 20 … 240 of 256


# --- training


def test_learning_rates() -> None:
    pretrained = RECIPES[0]
    rates = [pretrained.learning_rate_at(step) for step in (0, 99, 100, 850, 1600)]
    assert rates == pytest.approx([2e-5, 2e-3, 2e-3, 1.1e-3, 2e-4])
    assert {RECIPES[1].learning_rate_at(step) for step in range(300)} == {5e-4}


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_one_alone() -> None:
    state = torch.random.get_rng_state()
    model, losses = train(TINY, _text().tokens)
    again, losses_again = train(TINY, _text().tokens)
    other, _ = train(replace(TINY, seed=1), _text().tokens)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert losses == losses_again
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)


def test_a_step_is_adamw_on_the_mean_loss_with_the_gradient_clipped() -> None:
    # The stream is one repeated byte, so every window is the same and known.
    tokens = torch.full((200,), 65)
    recipe = replace(TINY, steps=1, learning_rate=1e-3, max_grad_norm=0.5)
    model, losses = train(recipe, tokens)

    start = build_model(rope_theta=10_000.0, train_length=32, seed=0)
    ids = tokens[None, :33]
    loss = start(input_ids=ids, labels=ids).loss  # transformers shifts the labels itself
    assert losses[0] == pytest.approx(loss.item(), abs=1e-5)
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


def test_training_learns_and_the_base_is_live() -> None:
    tokens = _text().tokens
    recipe = replace(TINY, steps=12, learning_rate=2e-3)
    _, losses = train(recipe, tokens)
    _, other = train(replace(recipe, rope_theta=20.0), tokens)
    assert losses[0] == pytest.approx(math.log(257), abs=0.2)
    assert losses[-1] < losses[0] - 1.5
    assert losses != other


# --- checkpoints


def test_checkpoint_loads_as_stored_in_float32_with_its_tokenizer_and_record(
    tmp_path: Path,
) -> None:
    steps: list[int] = []
    recipe = replace(TINY, rope_theta=77.0)
    record = make_checkpoint(recipe, _text(), tmp_path, on_step=lambda step, _: steps.append(step))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "tiny")
    trained, losses = train(recipe, _text().tokens)

    assert steps == [1, 2, 3]
    assert loaded.dtype == torch.float32
    assert loaded.config.rope_parameters == {"rope_type": "default", "rope_theta": 77.0}
    assert loaded.config.max_position_embeddings == 32
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name].half().float()), name
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tiny")
    assert tokenizer("é").input_ids == [BOUNDARY_ID, *"é".encode()]
    assert tokenizer.decode([32, 46, 32, 44]) == " . ,"
    assert json.loads((tmp_path / "tiny/record.json").read_text()) == record
    assert record["final_loss"]["nats"] == pytest.approx(sum(losses) / 3, abs=1e-4)
    assert record["recipe"]["rope_theta"] == 77.0
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_tuning_starts_from_the_stored_weights(tmp_path: Path) -> None:
    make_checkpoint(TINY, _text(), tmp_path)
    tuned = Recipe(name="tuned", rope_theta=20.0, start_from="tiny", steps=1, learning_rate=0.0)
    make_checkpoint(tuned, _text(), tmp_path)
    first = AutoModelForCausalLM.from_pretrained(tmp_path / "tiny")
    second = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned")
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    with pytest.raises(DataError, match="nowhere"):
        make_checkpoint(replace(tuned, start_from="nowhere"), _text(), tmp_path)


# --- command


def test_command_trains_what_was_named_and_never_overwrites_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rope_eval.lab.training_text", _text)
    words = ["--output", str(tmp_path / "lab"), "--steps", "1"]
    assert command.run(_args(*words, "--only", "base-20", "pretrained")) == 0
    assert sorted(path.name for path in (tmp_path / "lab").iterdir()) == ["base-20", "pretrained"]
    record = tmp_path / "lab/pretrained/record.json"
    first = json.loads(record.read_text())
    assert (first["recipe"]["steps"], first["recipe"]["seed"]) == (1, 0)

    with pytest.raises(SpecError, match=r"already holds pretrained, base-20.*--force"):
        command.run(_args(*words, "--seed", "7"))
    assert json.loads(record.read_text()) == first
    assert command.run(_args(*words, "--seed", "7", "--only", "pretrained", "--force")) == 0
    assert json.loads(record.read_text())["recipe"]["seed"] == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "base-21"], "Did you mean 'base-20'"),
        (["--only", "base-20"], "tuned from pretrained"),
        (["--steps", "0"], "at least 1, got 0"),
        (["--seed", "-1"], "from 0 to .* got -1"),
    ],
)
def test_bad_options_write_nothing(tmp_path: Path, words: list[str], message: str) -> None:
    output = tmp_path / "lab"
    with pytest.raises(SpecError, match=message):
        command.run(_args("--output", str(output), *words))
    assert not output.exists()


def test_a_file_in_the_place_of_the_output_is_an_error_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rope_eval.lab.training_text", _text)
    monkeypatch.setattr("rope_eval.lab.make_checkpoint", None)
    (tmp_path / "lab").touch()
    with pytest.raises(StoreError, match="Cannot make the folder"):
        command.run(_args("--output", str(tmp_path / "lab")))


def test_help_and_bad_options_do_not_load_torch() -> None:
    code = (
        "import argparse, sys; from rope_eval.commands import lab\n"
        "parser = argparse.ArgumentParser(); lab.add_parser(parser.add_subparsers())\n"
        "try: parser.parse_args(['lab', 'train', '--help'])\n"
        "except SystemExit: pass\n"
        "try: lab.run(parser.parse_args(['lab', 'train', '--steps', '0']))\n"
        "except ValueError as error: print(error)\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "rope-eval lab train --output lab" in result.stdout
    assert result.stdout.endswith("--steps must be at least 1, got 0.\n[]\n")


# --- the weights that are shipped


@pytest.fixture(scope="module")
def shipped_nll() -> dict[str, torch.Tensor]:
    """Return [T] nats at each position of the builtin book's chapters, by plain transformers."""
    chapters = [text.encode()[:1792] for text in topics.values() if len(text.encode()) >= 1792]
    ids = torch.tensor([[BOUNDARY_ID, *chapter] for chapter in chapters[:: len(chapters) // 4][:4]])
    nll = {}
    for name in NAMES:
        model = AutoModelForCausalLM.from_pretrained(SHIPPED / "lab" / name)
        with torch.no_grad():
            logits = model(input_ids=ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), ids[:, 1:], reduction="none"
        )
        nll[name] = loss.mean(0)
    return nll


@pytest.mark.parametrize(
    ("name", "rope_theta"),
    [("pretrained", 1e4), ("base-1e4", 1e4), ("base-1e5", 1e5), ("base-1e6", 1e6)],
)
def test_shipped_weights_break_where_the_law_says(
    shipped_nll: dict[str, torch.Tensor], name: str, rope_theta: float
) -> None:
    bound = round(extrapolation_bound(rope_theta, head_dim=64, train_length=128, tune_length=128))
    excess = shipped_nll[name] - shipped_nll["base-20"]
    assert excess[bound // 2 : bound].mean() < 0.05
    assert excess[2 * bound : 3 * bound].mean() > 0.7


def test_shipped_small_base_fades_instead_of_breaking(shipped_nll: dict[str, torch.Tensor]) -> None:
    nll = shipped_nll["base-20"]
    assert nll[64:128].mean() == pytest.approx(1.4, abs=0.25)
    assert nll[128:512].mean() < nll[64:128].mean() + 0.5
    assert nll[1024:].mean() < nll[64:128].mean() + 1.3


@pytest.mark.parametrize("recipe", RECIPES, ids=NAMES)
def test_shipped_checkpoint_was_made_by_its_recipe(recipe: Recipe) -> None:
    folder = SHIPPED / "lab" / recipe.name
    record = json.loads((folder / "record.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    assert Recipe(**record["recipe"]) == recipe
    assert config["rope_parameters"]["rope_theta"] == recipe.rope_theta
    assert config["max_position_embeddings"] == recipe.train_length
    assert config["dtype"] == "float32"
    for path in folder.glob("*.json"):
        assert not any(root in path.read_text() for root in ("/home", "/root", "/tmp", "/usr"))


def test_shipped_weights_are_under_8_mb() -> None:
    sizes = [path.stat().st_size for path in (SHIPPED / "lab").rglob("*.safetensors")]
    assert len(sizes) == len(RECIPES)
    assert sum(sizes) < 8_000_000


def test_family_file_lists_the_recipes() -> None:
    family = yaml.safe_load((SHIPPED / "lab.yaml").read_text())
    assert family["pretrain_theta"] == RECIPES[0].rope_theta
    assert family["train_length"] == RECIPES[0].train_length
    for row, recipe in zip(family["rows"], RECIPES, strict=True):
        assert row["name"] == recipe.name
        assert (SHIPPED / row["checkpoint"]).is_dir()
        tuned = recipe.start_from is not None
        assert row["tune_length"] == (recipe.train_length if tuned else None)
        assert row["rope"] == ({"rope_theta": recipe.rope_theta} if tuned else {})
