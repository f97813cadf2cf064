"""How the grid's checkpoints are made: recipes, windows, checkpoints, and `rope-eval lab train`."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers.little_training import TINY, little_text, train_little, windows_of
from rope_eval.cli import main
from rope_eval.errors import DataError
from rope_eval.theory import critical_base, pivot_bases
from rope_eval.tuning.recipe import Recipe
from studies.scaling_laws.recipes.checkpoints import make_checkpoint
from studies.scaling_laws.recipes.grids import GRIDS, LAB, SHIPPED
from studies.scaling_laws.recipes.model import BOUNDARY_ID, load_weights
from studies.scaling_laws.recipes.retrieval_text import filler_bytes, plant

GRID = GRIDS["lab"]

# --- recipes


def test_the_grid_is_what_the_findings_need() -> None:
    names = [recipe.name for recipe in LAB]
    assert len(set(names)) == len(names) == 37
    assert set(SHIPPED) <= set(names)
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
    for recipe in LAB:
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


# --- windows


def test_a_window_follows_from_the_seed_and_its_number_alone() -> None:
    windows = windows_of(replace(TINY, steps=100))
    again = windows_of(replace(TINY, steps=100))
    other = windows_of(replace(TINY, steps=100, seed=1))
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
    windows = windows_of(replace(TINY, rope=replace(TINY.rope, train_length=128), steps=count))
    return [windows[i] for i in range(count)]


def test_a_window_ends_anywhere() -> None:
    ends = Counter(plant(random.Random(i), b"word word\n" * 30, 129)[-1:] for i in range(400))
    assert 0.02 < ends[b"\n"] / 400 < 0.35  # a line end in ten bytes, and the planted lines'
    assert len(ends) > 5
    assert filler_bytes(129) <= 300


# --- checkpoints


def test_checkpoint_loads_as_stored_in_float32_with_its_tokenizer_and_record(
    tmp_path: Path,
) -> None:
    steps: list[int] = []
    recipe = replace(TINY, rope=replace(TINY.rope, rope_theta=77.0))
    record = make_checkpoint(
        recipe, GRID, little_text(), tmp_path / "lab", on_step=lambda step, _: steps.append(step)
    )
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "lab/tiny")
    trained, losses = train_little(recipe, tmp_path / "states")

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
    make_checkpoint(TINY, GRID, little_text(), tmp_path)
    tuned = replace(TINY, name="tuned", start_from="tiny", steps=1, learning_rate=0.0)
    make_checkpoint(tuned, GRID, little_text(), tmp_path)
    first, second = (load_weights(tmp_path / name) for name in ("tiny", "tuned"))
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    with pytest.raises(DataError, match="nowhere"):
        make_checkpoint(replace(tuned, start_from="nowhere"), GRID, little_text(), tmp_path)


# --- the command


@pytest.fixture
def on_little_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "studies.scaling_laws.recipes.text.training_text", lambda root: little_text()
    )


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
        ("--steps 0", "must be 1 or more, got 0"),
        ("--seed -1", "from 0 to .* got -1"),
        ("--preset lap", "Did you mean 'lab'"),
        ("--preset paper-7b --dry-run", "is tuned by `rope-eval tune`"),
        ("--base-model model_configs/lab/base-20", "is tuned by `rope-eval tune`"),
    ],
)
def test_bad_options_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    output = tmp_path / "lab"
    assert main(["lab", "train", "--output", str(output), *words.split()]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not output.exists()


@pytest.mark.usefixtures("on_little_text")
def test_a_file_in_the_place_of_the_output_is_an_error_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("studies.scaling_laws.recipes.checkpoints.make_checkpoint", None)
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


def test_a_dry_run_of_the_grid_lists_its_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "train", "--dry-run", "--only", "base-1e7-512", "base-20"]) == 0
    facts = yaml.safe_load(capsys.readouterr().out)
    assert [row["name"] for row in facts["checkpoints"]] == ["base-20", "base-1e7-512"]
    assert facts["checkpoints"][1]["training_arguments"]["per_device_train_batch_size"] == 8
    assert facts["tokens"] == 2 * 400 * 32 * 128
