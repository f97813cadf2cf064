"""Gemma 3 270M: sliding layers, a base for each type of layer."""

from __future__ import annotations

from pathlib import Path

import pytest

from rope_eval.backends.hf.loading import load_model
from rope_eval.errors import UnsupportedModelError


def test_it_is_refused_by_name(gemma3: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="gemma3_text models are not supported"):
        load_model(str(gemma3), device="cpu")
