"""What a setting puts on a model is in nothing that is trained, saved or copied meanwhile."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import PreTrainedModel

from helpers import models
from helpers.families.build import NAMED, build, log_probabilities, rebased, token_ids, twin
from rope_eval import RopeSpec, patched
from rope_eval.backends.hf.loading import load_model
from rope_eval.errors import SpecError

NATS = 1e-4
NORMS = "hunyuan_v1_dense"  # after the rotation: their weights are taken off meanwhile

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own, of models that it builds


def gradients(model: PreTrainedModel) -> dict[str, Tensor]:
    ids = token_ids(40)
    model.zero_grad()
    model(ids, labels=ids, use_cache=False).loss.backward()
    return {name: x.grad.clone() for name, x in model.named_parameters() if x.grad is not None}


def test_norms_after_the_rotation_are_trained_as_in_stock() -> None:
    model = build(NAMED[NORMS])
    expected = gradients(model)
    with patched(model, RopeSpec()):
        found = gradients(model)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() <= 1e-4 * gradient.abs().max(), name


def test_they_are_saved_as_they_are(tmp_path: Path) -> None:
    model, ids = build(NAMED[NORMS]), token_ids(40)
    with patched(model, RopeSpec()):
        model.save_pretrained(tmp_path)
        held = {name: x.clone() for name, x in model.state_dict().items()}
    assert all(torch.equal(held[name], x) for name, x in model.state_dict().items())
    saved = load_model(str(tmp_path), device="cpu")
    assert torch.equal(log_probabilities(saved, ids), log_probabilities(model, ids))


def test_they_follow_the_model_into_another_dtype() -> None:
    model, ids = build(NAMED[NORMS]), token_ids(40)
    with patched(model, RopeSpec()):
        found = log_probabilities(model.double(), ids)
    assert_close(found, log_probabilities(model, ids), rtol=0, atol=NATS)


def test_a_patched_model_is_not_copied() -> None:
    """A copy's rotary modules would be those of the first."""
    model = models.tiny()
    with patched(model, RopeSpec()):
        for copied in (model, model.model):
            with pytest.raises(SpecError, match="cannot be copied or pickled"):
                copy.deepcopy(copied)
        with pytest.raises(SpecError, match="cannot be copied or pickled"):
            pickle.dumps(model)
    assert copy.deepcopy(model) is not model


def test_frequencies_that_are_set_by_hand_are_learnt_anew() -> None:
    model, ids = models.build(models.config_of("llama")), token_ids(40)
    with patched(model, RopeSpec()):
        before = log_probabilities(model, ids)
    other = twin(model, rebased(model.config))
    model.model.rotary_emb.inv_freq = other.model.rotary_emb.inv_freq.clone()
    with patched(model, RopeSpec()):
        found = log_probabilities(model, ids)
    assert_close(found, log_probabilities(other, ids), rtol=0, atol=NATS)
    assert (found - before).abs().max() > 0.3
