"""Families that differ most, scored by `scaling_rope` as lm-eval's own `hf` scores them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from helpers.families.build import NAMED, Case, build
from rope_eval.hosts.lm_eval.model import ScalingRopeLM
from studies.scaling_laws.recipes.model import build_tokenizer

NATS = 2e-4  # of a continuation's sum
FAMILIES = {
    "gemma2": "windows of 16 on every other layer, soft caps",
    "gpt_oss": "sinks, yarn",
    "glm": "interleaved pairs",
    "llama4_text": "chunks, layers without rotation",
    "hunyuan_v1_dense": "norms after the rotation",
    "qwen3_next": "delta-rule layers",
}
CONTEXTS = ("It was", "A much longer beginning of the same kind, with some words", "Of")
CONTINUATIONS = (" the best", " of times, and nothing else in the world at all")

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own, of models that it builds


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("model")
    case = NAMED[request.param]
    special = {"vocab_size": 257, "bos_token_id": 256, "eos_token_id": 256, "pad_token_id": 256}
    build(Case(family=case.family, fields=case.fields | special)).save_pretrained(directory)
    build_tokenizer().save_pretrained(directory)
    return str(directory)


def requests(kind: str, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=a, idx=0, metadata=("t", i, 1))
        for i, a in enumerate(arguments)
    ]


def test_neutral_equals_hf(checkpoint: str) -> None:
    arguments: dict[str, Any] = {"pretrained": checkpoint, "device": "cpu", "max_length": 200}
    arguments["dtype"] = "float32"
    ours, theirs = (kind(**arguments, batch_size=3) for kind in (ScalingRopeLM, HFLM))
    asked = requests("loglikelihood", [(c, k) for c in CONTEXTS for k in CONTINUATIONS])
    found, wanted = (lm.loglikelihood(asked, disable_tqdm=True) for lm in (ours, theirs))
    assert [x for x, _ in found] == pytest.approx([x for x, _ in wanted], abs=NATS)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in wanted]
    asked = requests("loglikelihood_rolling", [(CONTEXTS[1] * 5,), ("A",)])
    found, wanted = (lm.loglikelihood_rolling(asked, disable_tqdm=True) for lm in (ours, theirs))
    assert found == pytest.approx(wanted, abs=5 * NATS)
    until = {"until": ["\n\n"], "max_gen_toks": 24}
    asked = requests("generate_until", [(context, until) for context in CONTEXTS])
    found, wanted = (lm.generate_until(asked, disable_tqdm=True) for lm in (ours, theirs))
    assert found == wanted


def test_a_model_in_parts_equals_hf(checkpoint: str, tmp_path: Path) -> None:
    """On a machine without a GPU lm-eval has accelerate keep all weights on the disk."""
    if "Llama4" in Path(checkpoint, "config.json").read_text(encoding="utf-8"):
        pytest.skip("transformers' llama4 asks its embeddings where they are: hf fails too")
    arguments = {"pretrained": checkpoint, "device": "cpu", "max_length": 200, "dtype": "float32"}
    whole = HFLM(**arguments)
    places = {"parallelize": True, "offload_folder": str(tmp_path)}
    parts = ScalingRopeLM(**arguments, **places, batch_size=3)
    assert any(x.is_meta for x in parts.model.parameters())
    asked = requests("loglikelihood", [(c, k) for c in CONTEXTS for k in CONTINUATIONS])
    found, wanted = (lm.loglikelihood(asked, disable_tqdm=True) for lm in (parts, whole))
    assert [x for x, _ in found] == pytest.approx([x for x, _ in wanted], abs=NATS)
