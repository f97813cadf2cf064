"""Nothing is read back from a device between two chunks: it would wait for all before it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import models
from rope_eval import RopeSpec, patched, score_tokens

READS = {  # what needs a number of a tensor on the host: .item(), bool(), shapes that data make
    "aten._local_scalar_dense.default",
    "aten.nonzero.default",
    "aten.masked_select.default",
    "aten.equal.default",
    "aten.is_nonzero.default",
    "aten.unique_dim.default",
    "aten._unique2.default",
}
UNSEEN = ("tolist", "cpu", "numpy")  # what a CPU does without an operator
EVERY_KNOB = "rope_theta=500,log_scale=true,dynamic_ntk=per_query,xpos=true,train_length=16"


class Reads(TorchDispatchMode):
    """Counts what is read back."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._undo = ExitStack()

    def __enter__(self) -> Reads:
        for name in UNSEEN:
            self._undo.enter_context(mock.patch.object(torch.Tensor, name, self._counted(name)))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._undo.close()

    def _counted(self, name: str) -> Any:
        method = getattr(torch.Tensor, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return method(*args, **kwargs)

        return counted

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += str(function) in READS
        return function(*args, **(kwargs or {}))


def reads(model: Any, ids: torch.Tensor, chunk_size: int) -> int:
    score_tokens(model, ids, chunk_size=chunk_size)  # makes tables
    with Reads() as found:
        score_tokens(model, ids, chunk_size=chunk_size)
    return found.count


def test_a_read_is_seen() -> None:
    with Reads() as found:
        bool(torch.ones(2).any())
        torch.ones(2).tolist()
        float(torch.ones(()))
        torch.ones(2).nonzero()
    assert found.count == 4


@pytest.mark.parametrize("family", ["llama", "mistral"])
@pytest.mark.parametrize("rope", ["", "log_scale=true,xpos=true,train_length=16", EVERY_KNOB])
def test_more_chunks_wait_no_more(family: str, rope: str) -> None:
    model = models.tiny(family)
    ids = models.token_ids(200)[0]
    with patched(model, RopeSpec.parse(rope)):
        assert reads(model, ids, 8) == reads(model, ids, 64)
