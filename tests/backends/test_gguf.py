"""A GGUF file is the model that was written into it, or is refused by name."""

from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch
from torch import Tensor

from helpers.models import build, config_of, log_probabilities, token_ids
from rope_eval.backends import gguf as ours
from rope_eval.backends.checkpoint import check_checkpoint
from rope_eval.backends.gguf import is_gguf, location
from rope_eval.backends.hf.loading import WholeCausalLM, load_config, load_model
from rope_eval.cli import main
from rope_eval.errors import DataError, SpecError, UnsupportedModelError
from rope_eval.results.resolved import resolved_laws, trained_length
from rope_eval.rope.spec import RopeSpec

HEADS, KEY_HEADS = 4, 2
NAMES = {  # of a layer, as llama.cpp calls them
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
Writing = Callable[[gguf.GGUFWriter], None]


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Order a projection's rows as llama.cpp keeps Llama's: neighbours make a rotary pair."""
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def write(file: Path, more: Writing = lambda writer: None) -> Path:
    """Write the tests' Llama, base 5000, in float32."""
    model = build(config_of("llama", rope_parameters={"rope_type": "default", "rope_theta": 5e3}))
    weights = model.state_dict()
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("tiny")
    writer.add_block_count(2)
    writer.add_context_length(32)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(48)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(5e3)
    writer.add_rope_dimension_count(16)
    writer.add_vocab_size(61)
    tensors = {
        "token_embd": weights["model.embed_tokens.weight"],
        "output_norm": weights["model.norm.weight"],
        "output": weights["lm_head.weight"],
    }
    for layer in range(2):
        for name, called in NAMES.items():
            weight = weights[f"model.layers.{layer}.{called}.weight"]
            heads = {"attn_q": HEADS, "attn_k": KEY_HEADS}.get(name)
            tensors[f"blk.{layer}.{name}"] = interleaved(weight, heads) if heads else weight
    for name, weight in tensors.items():
        writer.add_tensor(f"{name}.weight", weight.numpy())
    more(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_a_file_is_the_model_that_was_written(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = build(config_of("llama", rope_parameters={"rope_type": "default", "rope_theta": 5e3}))
    ids = token_ids(24)
    loaded = load_model(str(file), device="cpu")
    assert capsys.readouterr().err == ""  # no bar of the conversion
    assert loaded.dtype == torch.float32
    assert torch.equal(log_probabilities(loaded, ids), log_probabilities(made, ids))
    assert load_model(str(file), device="cpu", dtype="bfloat16").dtype == torch.bfloat16


def test_what_is_loaded_can_be_saved(file: Path, tmp_path: Path) -> None:
    loaded = load_model(str(file), device="cpu")
    loaded.save_pretrained(tmp_path)
    again = load_model(str(tmp_path), device="cpu")
    ids = token_ids(24)
    assert torch.equal(log_probabilities(again, ids), log_probabilities(loaded, ids))


def test_the_config_alone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load_config(str(file))
    assert config.rope_parameters["rope_theta"] == 5e3
    assert config.max_position_embeddings == 32
    assert main(["theory", "--model", str(file)]) == 0
    said = capsys.readouterr().out
    assert "head_dim 16 · train_length 32 · tune_length 32 · rope_theta 5000" in said


def test_the_length_of_training_is_that_of_theory(file: Path, tmp_path: Path) -> None:
    assert trained_length(str(file), RopeSpec()) == 32
    assert trained_length(str(file), RopeSpec(tune_length=64)) == 64
    laws = {"pretrain_theta": 5e3, "train_length": 32, "tune_length": None}
    assert resolved_laws(str(file), RopeSpec(log_scale=True)) == laws
    assert resolved_laws(str(file), RopeSpec(rope_theta=500)) == {}
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    assert trained_length(str(tmp_path / "broken.gguf"), RopeSpec()) is None


def test_weights_that_a_file_lacks(tmp_path: Path) -> None:
    def a_third_layer(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0]["llama.block_count"].value = 3

    path = write(tmp_path / "lacking.gguf", a_third_layer)
    with pytest.raises(DataError, match=r"its files lack model\.layers\.2\.input_lay"):
        WholeCausalLM.from_pretrained(**location(str(path)))


@pytest.mark.parametrize(
    ("more", "names"),
    [
        (
            lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.YARN),
            r"llama\.rope\.scaling\.type=yarn",
        ),
        (lambda writer: writer.add_rope_scaling_factor(4.0), r"llama\.rope\.scaling\.factor=4\.0"),
        (lambda writer: writer.add_sliding_window(512), r"attention\.sliding_window=512"),
        (
            lambda writer: writer.add_tensor("rope_freqs.weight", torch.ones(8).numpy()),
            r"rope_freqs\.weight",
        ),
    ],
)
def test_rope_that_would_be_lost(more: Writing, names: str, tmp_path: Path) -> None:
    path = write(tmp_path / "scaled.gguf", more)
    with pytest.raises(UnsupportedModelError, match=f"transformers does not read .*{names}"):
        check_checkpoint(str(path))


def test_scaling_that_does_nothing_is_taken(tmp_path: Path) -> None:
    def neutral(writer: gguf.GGUFWriter) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
        writer.add_rope_scaling_factor(1.0)

    check_checkpoint(str(write(tmp_path / "neutral.gguf", neutral)))


def test_a_window_that_transformers_reads_is_taken(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "windows.gguf", "gemma3")
    writer.add_sliding_window(512)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    check_checkpoint(str(tmp_path / "windows.gguf"))


def test_files_that_are_none(file: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no GGUF file"):
        check_checkpoint(str(tmp_path / "none.gguf"))
    whole = file.read_bytes()
    for content in (b"", b"GGUF", whole[:2000], whole[:-5000], b"PK" + whole[2:]):
        (tmp_path / "damaged.gguf").write_bytes(content)
        with pytest.raises(DataError, match="is no GGUF file, or broken or cut off"):
            check_checkpoint(str(tmp_path / "damaged.gguf"))


def test_the_package_that_is_needed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"pip install 'rope-eval\[gguf\]'"):
        check_checkpoint(str(file))


def test_where_transformers_finds_a_model(tmp_path: Path) -> None:
    assert location("some/model") == {"pretrained_model_name_or_path": "some/model"}
    assert location("a/b.GGUF") == {
        "pretrained_model_name_or_path": "a",
        "gguf_file": "b.GGUF",
    }
    (tmp_path / "folder.gguf").mkdir()
    assert not is_gguf(str(tmp_path / "folder.gguf"))
