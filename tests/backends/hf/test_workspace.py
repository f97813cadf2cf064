"""Room that is taken once: for all chunks and layers of a text under xPos."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers import models
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.attention import ATTRIBUTE
from rope_eval.backends.hf.workspace import Workspace


def test_what_is_lent_lies_in_one_place() -> None:
    workspace = Workspace(10)
    first = workspace.like(torch.ones(1, 2, 4, 3)).fill_(1)
    longest = workspace.like(torch.ones(1, 2, 10, 3))
    assert longest.shape == (1, 2, 10, 3) and longest.is_contiguous()
    assert longest.data_ptr() == first.data_ptr()
    assert longest.flatten()[: first.numel()].eq(1).all()
    half = workspace.like(torch.ones(1, 2, 4, 3, dtype=torch.bfloat16))
    assert half.dtype == torch.bfloat16 and half.data_ptr() != first.data_ptr()
    wider = workspace.like(torch.ones(1, 4, 10, 3))
    assert wider.shape == (1, 4, 10, 3)


def test_the_scaled_keys_of_a_text_are_made_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = models.tiny(), models.token_ids(300)[0]
    places, lent = set(), []
    like = Workspace.like

    def watched(self: Workspace, x: Tensor) -> Tensor:
        found = like(self, x)
        places.add(found.data_ptr())
        lent.append(x.shape[2])
        return found

    monkeypatch.setattr(Workspace, "like", watched)
    with patched(model, RopeSpec.parse("xpos=true,reference_length=64")):
        score_tokens(model, ids, chunk_size=100)
        assert getattr(model, ATTRIBUTE).workspace is None
    assert lent == [100, 200, 299] * model.config.num_hidden_layers
    assert len(places) == 1
