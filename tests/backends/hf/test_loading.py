"""Every weight of a model comes from its files, and what cannot be loaded is said in one line."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from helpers.models import build, config_of, log_probabilities, token_ids
from rope_eval.backends.hf.loading import load_config, load_model, load_tokenizer, readable
from rope_eval.errors import DataError, RopeEvalError, UnsupportedModelError
from rope_eval.hosts.lm_eval.model import ScalingRopeLM

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module", params=["llama", "tied"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder, its head a tensor of its own or the embedding."""
    folder = tmp_path_factory.mktemp(request.param)
    build(config_of("llama", tie_word_embeddings=request.param == "tied")).save_pretrained(folder)
    words = {f"w{i}": i for i in range(61)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="w0").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def rewrite(folder: Path, change: Callable[[Weights], Weights]) -> None:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def configure(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def refusal(folder: Path, kind: type[RopeEvalError] = DataError) -> str:
    """Return what is said, by lm-eval's host as by ours."""
    with pytest.raises(kind) as ours:
        load_model(str(folder), device="cpu")
    with pytest.raises(kind) as lm_evals:
        ScalingRopeLM(pretrained=str(folder), device="cpu")
    assert str(lm_evals.value) == str(ours.value)
    assert len(str(ours.value).splitlines()) == 1
    return str(ours.value)


# ---- weights ------------------------------------------------------------------------------------


def test_a_whole_model_is_that_of_its_files(folder: Path) -> None:
    tied = json.loads((folder / "config.json").read_text())["tie_word_embeddings"]
    made = build(config_of("llama", tie_word_embeddings=tied))
    ids = token_ids(24)
    want = log_probabilities(made, ids)
    assert torch.equal(log_probabilities(load_model(str(folder), device="cpu"), ids), want)
    host = ScalingRopeLM(pretrained=str(folder), device="cpu", max_length=32)
    torch.testing.assert_close(log_probabilities(host.model, ids), want, rtol=0, atol=1e-4)


def test_buffers_of_old_files_are_no_weights(folder: Path) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    rewrite(folder, lambda weights: weights | {name: torch.ones(8)})
    load_model(str(folder), device="cpu")


def test_weights_that_are_missing(folder: Path) -> None:
    lost = "model.layers.1.mlp.up_proj.weight"
    rewrite(folder, lambda weights: {k: v for k, v in weights.items() if k != lost})
    assert f"its files lack {lost}. Is the download whole" in refusal(folder)


def test_a_head_that_is_missing(folder: Path) -> None:
    configure(folder, tie_word_embeddings=False)
    rewrite(folder, lambda weights: {k: v for k, v in weights.items() if k != "lm_head.weight"})
    assert "its files lack lm_head.weight." in refusal(folder)


def test_weights_that_are_left_over(folder: Path) -> None:
    configure(folder, num_hidden_layers=1)
    said = refusal(folder)
    assert "hold model.layers.1.input_layernorm.weight, model.layers.1.mlp.down_proj.weight" in said
    assert "(9 in all), which the model has no place for" in said


@pytest.mark.parametrize(
    ("prefix", "says"),
    [
        ("_orig_mod.", "torch.compile"),
        ("module.", "DistributedDataParallel"),
        ("base_model.model.", "merge_and_unload"),
        ("student.", "rename them"),
    ],
)
def test_weights_under_a_prefix(folder: Path, prefix: str, says: str) -> None:
    rewrite(folder, lambda weights: {prefix + name: w for name, w in weights.items()})
    said = refusal(folder)
    assert f"They are named under '{prefix}'" in said
    assert says in said


def test_weights_of_other_shapes(folder: Path) -> None:
    configure(folder, intermediate_size=40)
    said = refusal(folder)
    assert "model.layers.0.mlp.down_proj.weight [64, 48] for [64, 40]" in said
    assert "(6 in all)" in said


# ---- what cannot be loaded -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_size": "64"}, "hidden_size must be a whole number from 1 to 1048576, got '64'"),
        ({"num_hidden_layers": 10**30}, "num_hidden_layers must be a whole number from 1 to 1000"),
        ({"head_dim": 10**12}, "head_dim must be a whole number"),
        ({"vocab_size": True}, "vocab_size must be a whole number"),
        ({"attn_implementation": "kernels-community/flash-attn"}, "would fetch code from the hub"),
        ({"model_type": "no-such"}, "the config of"),
        ({"max_position_embeddings": "many"}, "max_position_embeddings"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"hidden_act": "no-such"}, "no-such"),
        ({"rope_parameters": {"rope_type": "no-such", "rope_theta": 1e4}}, "no-such"),
        (
            {"rope_parameters": {"rope_type": None, "rope_theta": 1e4}},
            "rope_type of its RoPE must be a",
        ),
        ({"rope_parameters": 5}, "rope_parameters"),
        ({"num_attention_heads": 5}, "5"),
    ],
)
def test_configs_that_make_no_model(folder: Path, changes: dict[str, Any], says: str) -> None:
    configure(folder, **changes)
    assert says in refusal(folder)


@pytest.mark.filterwarnings("ignore:You passed `quantization_config`")
@pytest.mark.parametrize(
    ("packing", "package"),
    [
        ({"quant_method": "gptq", "bits": 4}, "optimum"),
        ({"quant_method": "awq", "bits": 4}, "gptqmodel"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({}, "has no quant_method, got {}"),
    ],
)
def test_packed_weights_without_their_package(
    folder: Path, packing: dict[str, Any], package: str
) -> None:
    configure(folder, quantization_config=packing)
    assert package in refusal(folder)


@pytest.mark.parametrize("asked", ["load_in_4bit", "load_in_8bit"])
def test_packing_without_its_package(folder: Path, asked: str) -> None:
    """lm-eval hands these on, and transformers' models do not take them."""
    if importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    more = {asked: True, "bnb_4bit_quant_type": "nf4"}
    with pytest.raises(DataError, match=r"cannot be loaded: .*bitsandbytes"):
        ScalingRopeLM(pretrained=str(folder), device="cpu", max_length=32, **more)
    ScalingRopeLM(pretrained=str(folder), device="cpu", max_length=32, **{asked: False})


@pytest.mark.parametrize("content", ["[]", "null", "5", '"text"', "{", "[" * 100000])
def test_a_config_that_is_no_config(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    assert "config.json is not " in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"model": {"type": "BPE"}}', b"\xff\x00"])
def test_damaged_tokenizers(folder: Path, content: bytes) -> None:
    (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(DataError, match="cannot be loaded: ") as said:
        load_tokenizer(str(folder))
    assert len(str(said.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (KeyError("rope_type"), "it cannot be loaded: no 'rope_type'"),
        (ValueError("wrong:\n  why\nmore"), "it cannot be loaded: wrong: why"),
        (RuntimeError(), "it cannot be loaded: RuntimeError"),
        (MemoryError(), "it does not fit into this machine's memory"),
        (UnsupportedModelError("as it is"), "as it is"),
    ],
)
def test_whatever_is_raised_becomes_one_line(raised: Exception, says: str) -> None:
    with pytest.raises(RopeEvalError) as said, readable("it"):
        raise raised
    assert str(said.value) == says


def test_a_person_may_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), readable("it"):
        raise KeyboardInterrupt


def test_the_config_knows_where_it_is_from(folder: Path) -> None:
    assert load_config(str(folder)).name_or_path == str(folder)
