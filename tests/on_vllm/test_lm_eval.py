"""`backend=vllm` of `scaling_rope`, and `rope-eval ppl --backend vllm`: the numbers of `hf`."""

from __future__ import annotations

import inspect
import json
import os
import pydoc_data.topics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from transformers import AutoModelForCausalLM

from helpers.vllm_environment import FAST
from rope_eval.backends.vllm.engine import engine_arguments, engine_dtype
from rope_eval.data.probes import ProbePlan
from rope_eval.errors import LengthError, SpecError, UnsupportedModelError
from rope_eval.hosts.lm_eval.model import ScalingRopeLM
from rope_eval.hosts.lm_eval.retrieval_task import RetrievalTask
from rope_eval.paths import asset
from rope_eval.results.resolved import resolved_dtype
from rope_eval.rope.spec import RopeSpec
from rope_eval.scoring import engine_proof
from studies.scaling_laws.probe import LAB as PROBE
from studies.scaling_laws.probe import held_out_text

LAYERS = "3 of 3"
LAB = asset("model_configs") / "lab"
ROPE = (
    f"pretrained={LAB / 'base-1e4'},rope_theta=500,log_scale=True,xpos=True,"
    "dynamic_ntk=per_sequence,reference_length=100,train_length=128,max_length=256,dtype=float32"
)
TEXT = pydoc_data.topics.topics["class"]
NATS = 1e-3  # of sums over hundreds of tokens
assert RetrievalTask.OUTPUT_TYPE == "retrieval_probe"  # its module gives every model this request


def requests(kind: Any, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=some, idx=0, metadata=("t", i, 1))
        for i, some in enumerate(arguments)
    ]


@pytest.fixture(scope="module")
def vllm() -> Iterator[Any]:
    model: Any = ScalingRopeLM.create_from_arg_string(
        f"{ROPE},backend=vllm,enforce_eager=True,max_num_seqs=4,block_size=32", {"device": None}
    )
    yield model
    model.model.llm_engine.engine_core.shutdown()


@pytest.fixture(scope="module")
def hf() -> Iterator[ScalingRopeLM]:
    model = ScalingRopeLM.create_from_arg_string(ROPE, {"device": "cpu", "batch_size": 3})
    yield model
    model.close()


def test_loglikelihood(vllm: Any, hf: ScalingRopeLM) -> None:
    asked = requests(
        "loglikelihood",
        *(
            (TEXT[k * 10 : k * 10 + n], TEXT[k * 10 + n : k * 10 + n + 7])
            for k, n in enumerate((5, 30, 91, 92, 93, 94, 150, 192, 193, 249))
        ),
        ("", "class"),
    )
    ours, theirs = vllm.loglikelihood(asked), hf.loglikelihood(asked)
    assert [score for score, _ in ours] == pytest.approx([s for s, _ in theirs], abs=NATS)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_a_greedy_continuation_is_a_hit(vllm: Any, hf: ScalingRopeLM) -> None:
    until = {"until": [], "max_gen_toks": 6}
    (text,) = vllm.generate_until(requests("generate_until", (TEXT[:40], until)))
    ((_, greedy), (_, other)) = vllm.loglikelihood(
        requests("loglikelihood", (TEXT[:40], text), (TEXT[:40], "\x00" * 6))
    )
    assert (greedy, other) == (True, False)


def test_rolling_windows_are_those_of_hf(vllm: Any, hf: ScalingRopeLM) -> None:
    asked = requests(
        "loglikelihood_rolling", *((TEXT[:n],) for n in (30, 99, 100, 101, 255, 256, 257, 700))
    )
    ours = vllm.loglikelihood_rolling(asked)
    assert ours == pytest.approx(hf.loglikelihood_rolling(asked), abs=NATS)


def test_whole_documents(vllm: Any, hf: ScalingRopeLM) -> None:
    asked = requests("token_loglikelihoods", (TEXT, (50, 100, 101, 200, 256)), ("short", (50,)))
    (ours, no), (theirs, _) = vllm.token_loglikelihoods(asked), hf.token_loglikelihoods(asked)
    assert no is None
    for n, scores in theirs.items():
        assert ours[n].nll == pytest.approx(scores.nll, abs=1e-4)
        assert (ours[n].hit == scores.hit).all()


def test_generation(vllm: Any, hf: ScalingRopeLM) -> None:
    until = {"until": ["\n\n"], "max_gen_toks": 40}
    asked = requests("generate_until", *((TEXT[:n], until) for n in (20, 59, 60, 120, 200)))
    assert vllm.generate_until(asked) == hf.generate_until(asked)


def test_whole_prompts_of_the_paper(vllm: Any, hf: ScalingRopeLM) -> None:
    asked = requests("whole_prompt_nll", *((TEXT[:n],) for n in (20, 21, 99, 100, 255)))
    for (ours, tokens), (theirs, same) in zip(
        vllm.whole_prompt_nll(asked), hf.whole_prompt_nll(asked), strict=True
    ):
        assert ours == pytest.approx(theirs, abs=NATS)
        assert tokens == same


def test_needles(vllm: Any, hf: ScalingRopeLM) -> None:
    plan = ProbePlan(
        form=PROBE,
        text=held_out_text(),
        lengths=(64, 100, 230),
        depths=(0.0, 0.5),
        samples=2,
        seed=0,
    )
    greedy = {"until": [], "do_sample": False}
    asked = requests(
        "retrieval_probe",
        *(
            ("", plan, sample, length, depth, greedy)
            for sample in range(2)
            for length in plan.lengths
            for depth in plan.depths
        ),
    )
    ours, theirs = vllm.retrieval_probe(asked), hf.retrieval_probe(asked)
    assert [(text, right, tokens) for text, _, right, tokens in ours] == [
        (text, right, tokens) for text, _, right, tokens in theirs
    ]
    assert [nll for _, nll, _, _ in ours] == pytest.approx([n for _, n, _, _ in theirs], abs=NATS)


def test_the_setting_is_recorded(vllm: Any, hf: ScalingRopeLM) -> None:
    assert vllm.get_model_info()["rope"] == hf.get_model_info()["rope"]
    assert vllm.get_model_info()["rope"]["rope_theta"] == 500
    begins = hf.get_model_info()["reach"]["effective_from"]
    assert begins == vllm.get_model_info()["reach"]["effective_from"] != {}


def test_a_few_scores_are_those_of_the_reference(
    vllm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = vllm.get_model_info()
    assert info["dtype"] == "float32"
    proof = info["proof"]
    assert proof["workers"] == vllm.rope_spec.fingerprint()
    assert proof["layers"] == LAYERS
    assert 0 < proof["reference"]["difference"] < 1e-4
    assert proof["reference"]["moves"] > 0.5
    assert proof["reference"]["tokens"] == engine_proof.TOKENS
    checkpoint = str(LAB / "base-1e4")

    def again(spec: RopeSpec, wanted: bool = True, **arguments: Any) -> Any:
        return engine_proof.proof_of_engine(vllm.model, checkpoint, spec, arguments, wanted=wanted)

    other = vllm.rope_spec.replace(rope_theta=400.0)
    for wanted in (True, False):
        with pytest.raises(UnsupportedModelError, match="workers do not run"):
            again(other, wanted)
    assert again(vllm.rope_spec, False) == "off"
    alone = again(vllm.rope_spec, quantization="fp8")
    assert alone == {
        "workers": vllm.rope_spec.fingerprint(),
        "layers": LAYERS,
        "reference": "none: quantization is the engine's alone",
    }
    with monkeypatch.context() as patch:  # workers that only say that they run it
        patch.setattr(engine_proof, "check_applied", lambda llm, spec: LAYERS)
        with pytest.raises(UnsupportedModelError, match="differs from the Hugging Face backend's"):
            again(other)
    monkeypatch.setattr(engine_proof, "REFERENCE_BYTES", 1 << 20)
    assert again(vllm.rope_spec)["reference"] == (
        "none: 1 MiB of weights, and 1 are loaded a second time"
    )


IN_IDENTITY = {"max_length": "max_length", "rolling_bos": "rolling_bos", "chunk_size": "asked"}
HARMLESS = {
    "pretrained": "its content is in the identity, as weights",
    "config": "its checkpoint and its setting are in the identity",
    "truncation": "without it there is no answer where it would cut",
    "max_model_len": "another name of max_length",
    "strict": "refuses requests, and changes none",
    "proof": "what is shown of the weights before the work",
}


def test_every_argument_is_in_the_identity_or_harmless(vllm: Any) -> None:
    own = set(inspect.signature(type(vllm).__init__).parameters) - {"self", "arguments"}
    assert own == set(IN_IDENTITY) | set(HARMLESS)
    assert all(HARMLESS.values())
    identity = vllm.answers_depend_on()
    assert identity.keys() >= {*IN_IDENTITY.values(), "weights", "rope", "dtype", "tokenizer"}
    assert identity["asked"].keys() >= {"chunk_size", "enforce_eager", "block_size"}


def test_what_is_cut_is_counted(vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm, "truncation", True)
    vllm.loglikelihood(requests("loglikelihood", (TEXT[:300], TEXT[300:307]), ("It", " was")))
    assert vllm.get_model_info()["cut_prompts"] == {"t": {"cut": 1, "of": 2}}
    vllm.loglikelihood(requests("loglikelihood", ("It", " was")))
    assert vllm.get_model_info()["cut_prompts"] == {}
    some = ((TEXT[:300], {"max_gen_toks": 2}), ("It", {"max_gen_toks": 2}))
    vllm.generate_until(requests("generate_until", *some))
    assert vllm.get_model_info()["cut_prompts"] == {"t": {"cut": 1, "of": 2}}


@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
def test_auto_is_the_dtype_that_the_key_has(
    stored: str, tmp_path: Path, checkpoint: Any, engine: Any
) -> None:
    """`auto` of float32 weights is bfloat16 here, and was once recorded as auto."""
    loaded = AutoModelForCausalLM.from_pretrained(checkpoint(), dtype=getattr(torch, stored))
    loaded.save_pretrained(tmp_path)
    llm = engine(tmp_path, "", dtype="auto")
    ran = str(engine_dtype(llm)).removeprefix("torch.")
    assert resolved_dtype(str(tmp_path), "auto", "vllm") == ran
    assert ran == ("bfloat16" if stored == "float32" else stored)


def test_too_long_is_an_error_and_not_a_cut(vllm: Any) -> None:
    with pytest.raises(LengthError, match="a request of 308 tokens"):
        vllm.loglikelihood(requests("loglikelihood", (TEXT[:300], TEXT[300:307])))
    with pytest.raises(LengthError, match="a continuation of 257 tokens is longer"):
        vllm.truncation = True
        try:
            vllm.loglikelihood(requests("loglikelihood", (TEXT[:9], TEXT[9:266])))
        finally:
            vllm.truncation = False
    with pytest.raises(LengthError, match="leaves no room to generate 40"):
        vllm.generate_until(requests("generate_until", (TEXT[:230], {"max_gen_toks": 40})))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("rope_teta=500", "Did you mean 'rope_theta'"),
        ("dynamic_ntk=per_query", "per_query cannot be served"),
        ("worker_extension_cls=mine", "leave it out"),
        ("enforce_eagre=True", "Did you mean 'enforce_eager'"),
        ("foo=1", "scaling_rope has no 'foo'"),
        ("proof=of", "proof must be on or off"),
        ("rolling_bos=two", "rolling_bos must be one of hf, one"),
        ("max_length=0", "max_length must be a whole number of 2 or more tokens, got 0"),
        ("chunk_size=abc", "chunk_size must be a whole number"),
        ("seed=x", "seed must be a whole number, got 'x'"),
        ("strict=maybe", "strict must be True or False, got 'maybe'"),
        ("truncation=left", "truncation must be True or False, got 'left'"),
        ("max_length=64,max_model_len=128", "two names of one length"),
    ],
)
def test_mistakes(arguments: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ScalingRopeLM.create_from_arg_string(
            f"pretrained={LAB / 'base-20'},backend=vllm,{arguments}"
        )


@pytest.mark.parametrize(
    ("additional", "message"),
    [
        ({"rope_eval": {"rope_theta": 5}}, r"additional_config\['rope_eval'\] is rope-eval's own"),
        ("rope_theta=5", "additional_config must be an object, got 'rope_theta=5'"),
    ],
)
def test_a_setting_beside_the_setting_is_refused(additional: Any, message: str) -> None:
    """It was replaced without a word."""
    with pytest.raises(SpecError, match=message):
        engine_arguments(RopeSpec(), {"additional_config": additional})
    kept = engine_arguments(RopeSpec(rope_theta=5), {"additional_config": {"other": 1}})
    assert kept["additional_config"] == {"other": 1, "rope_eval": {"rope_theta": 5}}


def test_replicas_on_ray(hf: ScalingRopeLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval's data parallelism: an engine in each Ray actor, where the plug-in is loaded too."""
    import ray

    monkeypatch.delenv("VLLM_ENABLE_V1_MULTIPROCESSING")
    ray.init(num_gpus=2, num_cpus=2, include_dashboard=False)  # lm-eval asks for a GPU each
    model: Any = ScalingRopeLM.create_from_arg_string(
        f"{ROPE},backend=vllm,enforce_eager=True,data_parallel_size=2"
    )
    asked = requests("loglikelihood", *((TEXT[:n], TEXT[n : n + 5]) for n in (30, 94, 95, 150)))
    ours, theirs = model.loglikelihood(asked), hf.loglikelihood(asked)
    assert [score for score, _ in ours] == pytest.approx([s for s, _ in theirs], abs=NATS)


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment as a user does: several processes, compilation on."""
    defaults = {name: value for name, value in os.environ.items() if name not in FAST}
    return subprocess.run(
        [str(Path(sys.executable).with_name(words[0])), *words[1:]],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=defaults | {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"},
        check=False,
    )


def test_the_command_lines_agree(tmp_path: Path) -> None:
    """In vLLM's own default, a worker in a process of its own, and compiled."""
    rope = "log_scale=true,dynamic_ntk=per_sequence"
    found = []
    for backend in ("hf", "vllm"):
        done = run(
            *("rope-eval", "ppl", "--config", "lab/base-1e5", "--rope", rope, "--lengths"),
            *("128,512,700", "--docs", "2", "--books", "builtin-chapters", "--json"),
            *("--backend", backend, "--dtype", "float32", "--results", "runs"),
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    hf, vllm = found
    assert vllm["perplexity"] == pytest.approx(hf["perplexity"], rel=1e-5)
    assert vllm["accuracy"] == pytest.approx(hf["accuracy"], abs=1e-6)
    assert vllm["key"] != hf["key"]


def test_the_literal_lm_eval_command(tmp_path: Path) -> None:
    done = run(
        *("lm_eval", "--model", "scaling_rope", "--tasks", "builtin_cumulative"),
        *("--model_args", f"{ROPE},backend=vllm,enforce_eager=True"),
        *("--include_path", str(asset("tasks")), "--metadata", "lengths=[64,200]"),
        *("--output_path", "out"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("out/**/results_*.json")
    config = json.loads(file.read_text())["config"]
    assert config["rope"]["dynamic_ntk"] == "per_sequence"
    assert "perplexity@200" in done.stdout


def test_bad_input_exits_2_and_is_no_traceback(tmp_path: Path) -> None:
    for words in (
        ("--engine", "[]"),
        ("--engine", "{"),
        ("--device", "cuda:1"),
        ("--rope", "dynamic_ntk=per_query"),
    ):
        done = run(
            *("rope-eval", "ppl", "--config", "lab/base-1e5", "--lengths", "64"),
            *("--backend", "vllm", *words),
            cwd=tmp_path,
        )
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert not list(tmp_path.iterdir())
