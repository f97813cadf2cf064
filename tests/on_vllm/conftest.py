"""Tests on the real engine: `make test-vllm` runs them in an environment of their own.

The environment's variables make an engine start in seconds, in this process; one test in each of
test_lm_eval.py and test_serve.py leaves them and shows that the plug-in reaches vLLM's workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from helpers.vllm_environment import FAST

for _name, _value in FAST.items():
    os.environ.setdefault(_name, _value)

collect_ignore_glob = ["second_runner.py", *([] if find_spec("vllm") else ["test_*.py"])]

from helpers import models  # noqa: E402
from helpers.families import build as families  # noqa: E402

SHAPE = {"hidden_size": 128, "head_dim": 32}
MAX_LENGTH = 200


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "on_vllm" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("default"))  # vLLM's own are many


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a sharp tiny model, once for each config."""
    written: dict[str, Path] = {}

    def write(family: str = "llama", **changes: Any) -> Path:
        key = f"{family}{changes}"
        if key not in written:
            written[key] = tmp_path_factory.mktemp(family)
            config = models.config_of(family, **(SHAPE | changes))
            models.build(config).save_pretrained(written[key])
        return written[key]

    return write


@pytest.fixture(scope="session")
def any_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a configuration of `helpers.families`, once."""
    written: dict[str, Path] = {}

    def write(name: str, **changes: Any) -> Path:
        key = f"{name}{changes}"
        if key not in written:
            case = families.NAMED[name]
            fields = {**case.fields, **SHAPE, "max_position_embeddings": 32, **changes}
            made = families.Case(family=case.family, variant=case.variant, fields=fields)
            written[key] = tmp_path_factory.mktemp(case.family)
            families.build(made).save_pretrained(written[key])
        return written[key]

    return write


@pytest.fixture
def engine() -> Iterator[Callable[..., Any]]:
    """Return a function that starts an engine under a spec; the engines end with the test."""
    from rope_eval.backends.vllm.engine import make_engine
    from rope_eval.rope.spec import RopeSpec

    started: list[Any] = []

    def start(model: Path, spec: str, max_length: int = MAX_LENGTH, **arguments: Any) -> Any:
        own = {
            "dtype": "float32",
            "enforce_eager": True,
            "skip_tokenizer_init": True,
            "block_size": 32,
            "num_gpu_blocks_override": 64,
        }
        llm = make_engine(str(model), RopeSpec.parse(spec), max_length, **(own | arguments))
        started.append(llm)
        return llm

    yield start
    for llm in started:
        llm.llm_engine.engine_core.shutdown()
