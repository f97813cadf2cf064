"""The embedded lab: tokenizer, text, and the weights that are shipped."""

from __future__ import annotations

import json
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from rope_eval.errors import DataError
from rope_eval.theory import extrapolation_bound
from rope_eval.tuning.recipe import Recipe
from studies.scaling_laws.recipes.grids import GRIDS, SHIPPED
from studies.scaling_laws.recipes.model import BOUNDARY, BOUNDARY_ID, build_tokenizer
from studies.scaling_laws.recipes.text import is_held_out, text_root, training_text

CONFIGS = Path(__file__).parents[2] / "model_configs"
RECIPES = {recipe.name: recipe for recipe in GRIDS["lab"].recipes}
TEXTS = [
    "def f(x):\n    return x  # done.\n",
    " a b  c \n\n , . 's don't \t\r\n ",
    "é A\u030a 漢字 🙂 \u200b\u2028\u2029 ﬁ \x00\x01\x7f\ufeff\U0010ffff",
    "".join(map(chr, range(0x100))),
    "",
]


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
    assert text.tokens.dtype == torch.int16
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


def test_a_grids_text_is_where_its_name_says() -> None:
    assert (text_root("stdlib") / "textwrap.py").is_file()
    assert (text_root("site-packages") / "torch").is_dir()


def test_one_file_in_twenty_is_held_out() -> None:
    held_out = sum(is_held_out(f"module_{number}.py") for number in range(20_000))
    assert held_out / 20_000 == pytest.approx(13 / 256, abs=0.005)  # 0, 20 … 240 of 256


# --- the weights that are shipped


SAME_LENGTH = ("pretrained", "base-20", "base-1e4", "base-1e5", "base-1e6")


@pytest.fixture(scope="module")
def shipped_nll() -> dict[str, torch.Tensor]:
    """Return [T] nats at each position of the builtin book's chapters, by plain transformers."""
    chapters = [text.encode()[:1792] for text in topics.values() if len(text.encode()) >= 1792]
    ids = torch.tensor([[BOUNDARY_ID, *chapter] for chapter in chapters[:: len(chapters) // 4][:4]])
    nll = {}
    for name in SAME_LENGTH:
        model = AutoModelForCausalLM.from_pretrained(CONFIGS / "lab" / name)
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


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_checkpoint_was_made_by_its_recipe(name: str) -> None:
    folder = CONFIGS / "lab" / name
    record = json.loads((folder / "record.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    recipe = RECIPES[name]
    assert Recipe.from_dict(record["recipe"]) == recipe
    assert config["rope_parameters"]["rope_theta"] == recipe.rope.rope_theta
    assert config["max_position_embeddings"] == recipe.length
    assert config["dtype"] == "float32"
    for path in folder.glob("*.json"):
        assert not any(root in path.read_text() for root in ("/home", "/root", "/tmp", "/usr"))


def test_shipped_weights_are_under_12_mb() -> None:
    sizes = [path.stat().st_size for path in (CONFIGS / "lab").rglob("*.safetensors")]
    assert len(sizes) == len(SHIPPED)
    assert sum(sizes) < 12_000_000


def test_family_file_lists_the_recipes() -> None:
    family = yaml.safe_load((CONFIGS / "lab.yaml").read_text())
    assert family["pretrain_theta"] == RECIPES["pretrained"].rope.rope_theta
    assert family["train_length"] == RECIPES["pretrained"].rope.train_length
    assert [row["name"] for row in family["rows"]] == list(SHIPPED)
    for row in family["rows"]:
        rope = RECIPES[row["name"]].rope
        assert (CONFIGS / row["checkpoint"]).is_dir()
        assert row["tune_length"] == rope.tune_length
        wanted = rope.to_dict().items() - {("train_length", 128), ("tune_length", rope.tune_length)}
        if rope.tune_length is None:
            wanted = set()
        assert row["rope"] == dict(wanted)
