"""What a layer calls its cache, and where it computes, be its weights there or not."""

import functools
from pathlib import Path

import accelerate
import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel

from helpers import models
from helpers.families.build import NAMED, build, log_probabilities, token_ids
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.compat import cache_argument, input_device
from rope_eval.backends.hf.loading import load_model
from rope_eval.backends.hf.proof import prove
from rope_eval.errors import UnsupportedModelError
from rope_eval.scoring.documents import Loading, scorer_of


class New(nn.Module):
    def forward(self, x: int, cache: object = None) -> None: ...


class Old(nn.Module):
    def forward(self, x: int, past_key_values: object = None) -> None: ...


class Both(nn.Module):
    def forward(self, x: int, past_key_values: object = None, cache: object = None) -> None: ...


class Neither(nn.Module):
    def forward(self, x: int, **kwargs: object) -> None: ...


def test_the_name_is_what_the_signature_has() -> None:
    assert cache_argument(New()) == "cache"
    assert cache_argument(Old()) == "past_key_values"
    assert cache_argument(Both()) == "cache"
    with pytest.raises(UnsupportedModelError, match=r"Neither takes no cache.*among x, kwargs"):
        cache_argument(Neither())


def test_a_wrapped_forward_is_looked_through() -> None:
    module, plain = Old(), Old.forward
    module.forward = functools.wraps(plain)(lambda *a, **k: plain(module, *a, **k))
    assert cache_argument(module) == "past_key_values"


def test_a_model_its_base_and_its_layers_take_a_cache_by_that_name() -> None:
    model, input_ids = models.tiny(), models.token_ids(12)
    for module in (model, model.base_model):
        cache = DynamicCache(config=model.config)
        with torch.no_grad():
            module(input_ids[:, :8], use_cache=True, **{cache_argument(module): cache})
        assert cache.get_seq_length() == 8
    assert cache_argument(model.base_model.layers[0]) == cache_argument(model)


def on_disk(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Return the model with every other layer's weights in files until it computes."""
    model.save_pretrained(folder)
    rest = ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head")
    places = dict.fromkeys(rest, "cpu")
    for i in range(model.config.num_hidden_layers):
        places[f"model.layers.{i}"] = "disk" if i % 2 else "cpu"
    loaded = AutoModelForCausalLM.from_pretrained(
        folder, device_map=places, offload_folder=folder / "off", dtype=torch.float32
    )
    assert any(x.is_meta for x in loaded.parameters())
    return loaded.eval()


def in_memory(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Return the model with all weights elsewhere until their module computes."""
    accelerate.cpu_offload(model, execution_device="cpu")
    assert all(x.is_meta for x in model.parameters())
    return model


@pytest.mark.filterwarnings("ignore")  # transformers' own, of models that it builds
@pytest.mark.parametrize("offload", [on_disk, in_memory])
@pytest.mark.parametrize("name", ["llama", "hunyuan_v1_dense", "gpt_oss", "qwen3_next"])
def test_offloaded_weights(name: str, offload: object, tmp_path: Path) -> None:
    model, ids = build(NAMED[name]), token_ids(60)
    expected = log_probabilities(model, ids)
    model = offload(model, tmp_path)  # type: ignore[operator]
    assert input_device(model) == torch.device("cpu")
    assert prove(model, RopeSpec(rope_theta=500.0)).moves["rope_theta"] > 0.01
    with patched(model, RopeSpec()):
        assert_close(log_probabilities(model, ids), expected, rtol=0, atol=1e-4)
        nll = torch.from_numpy(score_tokens(model, ids[0], chunk_size=16).nll).double()
    wanted = -expected[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
    assert_close(nll, wanted, rtol=0, atol=1e-4)
    assert torch.equal(log_probabilities(model, ids), expected)


def test_the_layers_of_a_model_over_all_devices(tmp_path: Path) -> None:
    """Of which a machine without a GPU has one; a disk stands for another in the record."""
    model, ids = models.tiny(), models.token_ids(40)[0]
    model.save_pretrained(tmp_path / "whole")
    spread = load_model(str(tmp_path / "whole"), dtype="float32", device="auto")
    expected, found = score_tokens(model, ids).nll, score_tokens(spread, ids).nll
    assert np.array_equal(found, expected)
    parted = on_disk(model, tmp_path / "parted")
    for one, places in ((spread, None), (parted, ["cpu", "disk"])):
        with scorer_of(one, RopeSpec(rope_theta=500.0), Loading(), "off") as scorer:
            assert scorer.ran.get("devices") == places
            nll = scorer.score(ids, [40], lambda _: None)[40].nll
        with patched(model, RopeSpec(rope_theta=500.0)):
            assert np.array_equal(nll, score_tokens(model, ids).nll)


def test_positions_go_where_a_layer_computes() -> None:
    """What a model that is split over two devices needs; there are none here but the CPU."""
    with patched(model := models.tiny(), RopeSpec()):
        attention = model._rope_eval
        attention.begin(torch.arange(5)[None])
        meta = attention.positions_on(torch.device("meta"))
        assert meta.is_meta
        assert attention.positions_on(torch.device("meta")) is meta
        assert attention.positions_on(torch.device("cpu")) is attention.positions
        attention.begin(torch.arange(7)[None])
        assert attention.positions_on(torch.device("meta")).shape == (1, 7)
