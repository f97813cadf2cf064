"""`lm_eval --model scaling_rope` against lm-eval's own `hf`, and against itself."""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from helpers import models
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.errors import DataError, LengthError, RopeEvalError, SpecError
from rope_eval.hosts.lm_eval.model import ScalingRopeLM
from studies.scaling_laws.recipes.model import build_tokenizer

TASKS = Path(__file__).parents[3] / "tasks"
NEUTRAL_TOLERANCE = 2e-4  # nats: float64 angles against transformers' float32 ones, sharp attention
SAME = 2e-5  # nats: the same arithmetic in another order
SPECS = (
    "",
    "rope_theta=500,log_scale=true,dynamic_ntk=per_query,xpos=true,reference_length=20",
    "dynamic_ntk=per_sequence,reference_length=20,log_scale=true",
    "dynamic_ntk=per_sequence,ntk_formula=continuous,reference_length=20",
    "linear_factor=2,beyond_critical=drop",
)
CONTEXTS = ("It was", "A much longer beginning of the same kind, with some words", "", "Of")
BEGINS_WITH_BOS = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
CONTINUATIONS = (" the best", " x", " of times, and nothing else in the world at all", " a")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("model")
    config = models.config_of(
        "llama", vocab_size=257, bos_token_id=256, eos_token_id=256, pad_token_id=256
    )
    models.build(config).save_pretrained(directory)
    build_tokenizer().save_pretrained(directory)
    return str(directory)


def requests(kind: str, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=a, idx=0, metadata=("t", i, 1))
        for i, a in enumerate(arguments)
    ]


def scaling(checkpoint: str, spec: str = "", **arguments: Any) -> ScalingRopeLM:
    fields = RopeSpec.parse(spec).to_dict()
    return ScalingRopeLM(pretrained=checkpoint, device="cpu", max_length=200, **fields, **arguments)


def loglikelihoods(lm: HFLM) -> list[tuple[float, bool]]:
    pairs = [(c, k) for c in CONTEXTS for k in CONTINUATIONS]
    return lm.loglikelihood(requests("loglikelihood", pairs), disable_tqdm=True)


def generations(lm: HFLM) -> list[str]:
    arguments = [(c or "Once", {"until": ["\n\n"], "max_gen_toks": 24}) for c in CONTEXTS]
    return lm.generate_until(requests("generate_until", arguments), disable_tqdm=True)


def test_neutral_equals_hf(checkpoint: str) -> None:
    for batch_size in (1, 5):
        ours = scaling(checkpoint, batch_size=batch_size)
        theirs = HFLM(pretrained=checkpoint, device="cpu", max_length=200, batch_size=batch_size)
        for (a, greedy_a), (b, greedy_b) in zip(
            loglikelihoods(ours), loglikelihoods(theirs), strict=True
        ):
            assert a == pytest.approx(b, abs=NEUTRAL_TOLERANCE)
            assert greedy_a == greedy_b
        assert generations(ours) == generations(theirs)


@pytest.mark.parametrize("max_length", [33, 200])
def test_rolling_equals_hf(checkpoint: str, max_length: int) -> None:
    texts = requests("loglikelihood_rolling", [(CONTEXTS[1] * 3,), ("A",), (CONTEXTS[1],)])
    ours = ScalingRopeLM(pretrained=checkpoint, device="cpu", max_length=max_length)
    theirs = HFLM(pretrained=checkpoint, device="cpu", max_length=max_length)
    assert ours.loglikelihood_rolling(texts, disable_tqdm=True) == pytest.approx(
        theirs.loglikelihood_rolling(texts, disable_tqdm=True), abs=5 * NEUTRAL_TOLERANCE
    )


@pytest.mark.parametrize("spec", SPECS)
def test_batch_size_changes_nothing(checkpoint: str, spec: str) -> None:
    one, many = (scaling(checkpoint, spec, batch_size=n) for n in (1, 7))
    for (a, _), (b, _) in zip(loglikelihoods(one), loglikelihoods(many), strict=True):
        assert a == pytest.approx(b, abs=SAME * 10)
    assert generations(one) == generations(many)


@pytest.mark.parametrize("spec", SPECS)
def test_loglikelihood_is_the_sum_of_the_token_scores(checkpoint: str, spec: str) -> None:
    lm = scaling(checkpoint, spec, batch_size=4)
    context, continuation = CONTEXTS[1], CONTINUATIONS[2]
    ((score, _),) = lm.loglikelihood(
        requests("loglikelihood", [(context, continuation)]), disable_tqdm=True
    )
    ids = torch.tensor(lm.tok_encode(context + continuation))
    tokens = score_tokens(lm.model, ids)
    assert score == pytest.approx(-tokens.nll[-len(continuation) :].sum(), abs=SAME * 10)


def test_every_spec_moves_the_numbers(checkpoint: str) -> None:
    neutral = [score for score, _ in loglikelihoods(scaling(checkpoint, batch_size=4))]
    for spec in SPECS[1:]:
        moved = [score for score, _ in loglikelihoods(scaling(checkpoint, spec, batch_size=4))]
        assert max(abs(a - b) for a, b in zip(neutral, moved, strict=True)) > 0.5


def test_generation_under_per_sequence_knows_the_final_length(checkpoint: str) -> None:
    lm = scaling(checkpoint, "dynamic_ntk=per_sequence,reference_length=20", batch_size=2)
    prompts, room = ["Once upon", "In the beginning there was a word"], 24
    context, mask = lm.tok_batch_encode(prompts)
    generated = lm._model_generate(
        context, context.shape[1] + room, [], attention_mask=mask, min_new_tokens=room
    )
    for row, real, prompt in zip(generated, mask.bool(), prompts, strict=True):
        ids = lm.tok_encode(prompt)
        assert row[: len(real)][real].tolist() == ids
        final = len(ids) + room
        for token in row[len(real) : len(real) + 6].tolist():  # by hand, uncached, at full length
            padded = torch.tensor([ids + [0] * (final - len(ids))])
            logits = lm.model(padded, use_cache=False).logits[0, len(ids) - 1]
            logits[lm.eot_token_id] = -math.inf  # as min_new_tokens does
            assert token == int(logits.argmax())
            ids.append(token)


@pytest.mark.parametrize("spec", SPECS)
def test_token_loglikelihoods_score_each_text_once(
    checkpoint: str, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rope_eval.scoring import tokens as scorer

    lm = scaling(checkpoint, spec)
    passes: list[int] = []
    original = scorer.score_tokens

    def counted(model: Any, ids: torch.Tensor, **kwargs: Any) -> Any:
        passes.append(len(ids))
        return original(model, ids, **kwargs)

    monkeypatch.setattr(scorer, "score_tokens", counted)
    text = "The quick brown fox jumps over the lazy dog. " * 3
    first, second, short = lm.token_loglikelihoods(
        requests(
            "token_loglikelihoods",
            [(text, (16, 64)), (text, (16, 100)), ("Too short", (16, 64))],
        ),
        disable_tqdm=True,
    )
    assert short is None
    assert first is not None
    assert second is not None
    per_sequence = "per_sequence" in spec
    assert len(passes) == (3 if per_sequence else 1)
    ids = torch.tensor(lm.tok_encode(text))
    for length, scores in (first | second).items():
        alone = original(lm.model, ids[:length])
        assert scores.nll == pytest.approx(alone.nll, abs=SAME * 5)
        assert len(scores.hit) == length - 1


def test_no_text_long_enough_is_an_error(checkpoint: str) -> None:
    lm = scaling(checkpoint)
    with pytest.raises(LengthError, match=r"no document has the 64 tokens.*longest has 6"):
        lm.token_loglikelihoods(
            requests("token_loglikelihoods", [("Short", (64,))]), disable_tqdm=True
        )


def test_nothing_is_cut_silently(checkpoint: str) -> None:
    lm = ScalingRopeLM(pretrained=checkpoint, device="cpu", max_length=32)
    long = "words " * 20
    with pytest.raises(LengthError, match="max_length=32"):
        lm.loglikelihood(requests("loglikelihood", [(long, " x")]), disable_tqdm=True)
    with pytest.raises(LengthError, match="max_length=32"):
        lm.generate_until(
            requests("generate_until", [(long, {"until": [], "max_gen_toks": 4})]),
            disable_tqdm=True,
        )
    cut = ScalingRopeLM(pretrained=checkpoint, device="cpu", max_length=32, truncation=True)
    ((score, _),) = cut.loglikelihood(requests("loglikelihood", [(long, " x")]), disable_tqdm=True)
    assert math.isfinite(score)


def test_a_continuation_past_max_length_is_said(checkpoint: str) -> None:
    """lm-eval has a bare AssertionError for it: truncation takes tokens of a context alone."""
    lm = ScalingRopeLM(pretrained=checkpoint, device="cpu", max_length=8, truncation=True)
    with pytest.raises(LengthError, match="a continuation of 9 tokens is longer than max_length=8"):
        lm.loglikelihood(requests("loglikelihood", [("It", " was best")]), disable_tqdm=True)
    ((score, _),) = lm.loglikelihood(
        requests("loglikelihood", [("It was", " the bes")]), disable_tqdm=True
    )
    ids = torch.tensor(lm.tok_encode("s the bes")[-9:])
    assert score == pytest.approx(-score_tokens(lm.model, ids).nll.sum(), abs=SAME * 10)


def test_rolling_begins_with_one_bos_or_as_hf_does(
    checkpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    """lm-eval issue 3333: a tokenizer that puts BOS gives BOS BOS, and the second is scored."""
    text = "It was the best of times"
    asked = requests("loglikelihood_rolling", [(text,)])
    found = {}
    for rule in ("hf", "one"):
        caplog.clear()
        lm = scaling(checkpoint, rolling_bos=rule)
        lm.tokenizer.backend_tokenizer.post_processor = BEGINS_WITH_BOS
        ids = lm.tok_encode(text)
        assert ids[0] == lm.prefix_token_id == 256
        (found[rule],) = lm.loglikelihood_rolling(asked, disable_tqdm=True)
        begins = [256, *ids] if rule == "hf" else ids
        expected = -score_tokens(lm.model, torch.tensor(begins)).nll.sum()
        assert found[rule] == pytest.approx(expected, abs=SAME * 10)
        info = lm.get_model_info()["rolling_bos"]
        assert info == {"rule": rule, "tokens": 2 if rule == "hf" else 1}
        said = [r.getMessage() for r in caplog.records if "two BOS" in r.getMessage()]
        assert len(said) == (rule == "hf")
    theirs = HFLM(pretrained=checkpoint, device="cpu", max_length=200)
    theirs.tokenizer.backend_tokenizer.post_processor = BEGINS_WITH_BOS
    (hf,) = theirs.loglikelihood_rolling(asked, disable_tqdm=True)
    assert found["hf"] == pytest.approx(hf, abs=5 * NEUTRAL_TOLERANCE)
    assert abs(found["hf"] - found["one"]) > 0.1


def test_a_prefix_has_no_effect_on_documents_and_that_is_said(
    checkpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked = requests("token_loglikelihoods", [("The quick brown fox jumps", (16,))])
    plain, other = (scaling(checkpoint, prefix_token_id=token) for token in (256, 65))
    (one,), (two,) = (lm.token_loglikelihoods(asked, disable_tqdm=True) for lm in (plain, other))
    assert one is not None
    assert two is not None
    assert (one[16].nll == two[16].nll).all()
    said = [r.getMessage() for r in caplog.records if "prefix_token_id" in r.getMessage()]
    assert [text for text in said if "no effect" in text] == [
        "rope-eval: prefix_token_id=65 has no effect on whole documents: they begin as the "
        "tokenizer begins a text"
    ]


def test_a_loaded_model_and_its_restoration(tokenizer: PreTrainedTokenizerBase) -> None:
    model = models.build(models.config_of("llama", vocab_size=257))
    ids = models.token_ids(40)
    with torch.no_grad():
        before = model(ids).logits
        lm = ScalingRopeLM(pretrained=model, tokenizer=tokenizer, rope_theta=100)
        during = model(ids).logits
        with patched(model, RopeSpec(rope_theta=100)):
            assert torch.equal(model(ids).logits, during)
        lm.close()
        assert torch.equal(model(ids).logits, before)
    assert (during - before).abs().max() > 0.1


def test_several_around_one_loaded_model_score_under_their_own(
    checkpoint: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Once a notebook's loop made every object score under the last setting."""
    specs = ("rope_theta=100", "", "dynamic_ntk=per_sequence,reference_length=20,log_scale=true")
    texts = requests("loglikelihood_rolling", [(CONTEXTS[1] * 3,)])
    whole = [Instance("token_loglikelihoods", {}, (CONTEXTS[1] * 3, (64, 128)), 0)]  # type: ignore[arg-type]

    def scores(lm: ScalingRopeLM) -> tuple[Any, ...]:
        (document,) = lm.token_loglikelihoods(whole, disable_tqdm=True)
        assert document is not None
        return (
            tuple(loglikelihoods(lm)),
            tuple(generations(lm)),
            lm.loglikelihood_rolling(texts, disable_tqdm=True)[0],
            float(document[128].nll.sum()),
            lm.whole_prompt_nll(requests("whole_prompt_nll", [(CONTEXTS[1],)]))[0],
        )

    expected = [scores(scaling(checkpoint, spec)) for spec in specs]
    assert len({each[2] for each in expected}) == len(specs)
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    ids = models.token_ids(40)
    before = models.log_probabilities(model, ids)
    around = [
        ScalingRopeLM(
            pretrained=model, tokenizer=tokenizer, max_length=200, **RopeSpec.parse(spec).to_dict()
        )
        for spec in specs
    ]
    for order in ((0, 1, 2), (2, 0, 1)):
        for i in order:
            assert scores(around[i]) == expected[i]
    with patched(model, RopeSpec(xpos=True)):
        inner = models.log_probabilities(model, ids)
        assert scores(around[0]) == expected[0]
        assert torch.equal(models.log_probabilities(model, ids), inner)
    around[1].close()
    assert scores(around[2]) == expected[2]
    assert scores(around[0]) == expected[0]
    with pytest.raises(SpecError, match="was closed"):
        loglikelihoods(around[1])
    with around[0]:
        pass
    del around  # the last is collected, and takes its setting off
    gc.collect()
    assert torch.equal(models.log_probabilities(model, ids), before)


def test_the_proof_is_recorded_or_said_to_be_off(checkpoint: str) -> None:
    proof = scaling(checkpoint, "rope_theta=500,log_scale=true").get_model_info()["proof"]
    assert 0 < proof["neutral"] < 1e-4
    assert set(proof["moves"]) == {"rope_theta", "log_scale"}
    assert min(proof["moves"].values()) > 0.01
    for off in ("off", False):
        assert scaling(checkpoint, "", proof=off).get_model_info()["proof"] == "off"
    with pytest.raises(SpecError, match="proof must be on or off, got 'of'"):
        scaling(checkpoint, "", proof="of")


@pytest.mark.parametrize("proof", ["on", "off"])
def test_an_object_left_open_ends_quietly(checkpoint: str, proof: str) -> None:
    code = f"""
from transformers import AutoModelForCausalLM
from rope_eval import RopeSpec, patched
from rope_eval.hosts.lm_eval.model import ScalingRopeLM
lm = ScalingRopeLM(pretrained={checkpoint!r}, device="cpu", proof={proof!r}, rope_theta=500)
model = AutoModelForCausalLM.from_pretrained({checkpoint!r})
left_open = patched(model, RopeSpec())
left_open.__enter__()
"""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"},
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_field_of_the_row_is_switched_off() -> None:
    row = ScalingRopeLM(config="lab/base-1e5-drop", device="cpu")
    off = ScalingRopeLM(config="lab/base-1e5-drop", beyond_critical="keep", device="cpu")
    assert row.rope_spec.beyond_critical == "drop"
    lengths = {"train_length": 128, "tune_length": 128}
    assert off.rope_spec == RopeSpec(rope_theta=1e5, pretrain_theta=1e4, **lengths)
    scored = requests("loglikelihood_rolling", [("a longer text of forty bytes or so " * 20,)])
    one, two = (lm.loglikelihood_rolling(scored, disable_tqdm=True)[0] for lm in (row, off))
    assert abs(one - two) > 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rope_teta": 500}, SpecError, "Did you mean 'rope_theta'"),
        ({"rope_theta": 1}, SpecError, "greater than 1, got 1"),
        ({"rope_theta": "nan"}, SpecError, "finite"),
        ({"dynamic_ntk": "per_querry"}, SpecError, "Did you mean 'per_query'"),
        ({"backend": "tpu"}, SpecError, "backend must be hf"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, SpecError, "fields yarn_factor=4$"),
        ({"rope_parameters": {"rope_theta": 5.0}}, SpecError, "fields rope_theta=5$"),
        ({"hf_overrides": {"rope_theta": 5}}, SpecError, "rope_theta in hf_overrides"),
        ({"config": "lab/base-2"}, DataError, "Did you mean 'lab/base-20'"),
    ],
)
def test_bad_arguments(
    checkpoint: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ScalingRopeLM(pretrained=checkpoint, device="cpu", **arguments)


def test_checkpoints_that_are_not_loaded(checkpoint: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="pretrained=DIR"):
        ScalingRopeLM(device="cpu")
    with pytest.raises(DataError, match=r"no config\.json"):
        ScalingRopeLM(pretrained=str(tmp_path), device="cpu")
    config = json.loads((Path(checkpoint) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="no weights"):
        ScalingRopeLM(pretrained=str(tmp_path), device="cpu")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(DataError, match="loading a pickle can run code"):
        ScalingRopeLM(pretrained=str(tmp_path), device="cpu")
    (tmp_path / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "x.Y"}}))
    with pytest.raises(DataError, match="trust_remote_code=True"):
        ScalingRopeLM(pretrained=str(tmp_path), device="cpu")


# ---- the literal command ----------------------------------------------------------------------


def lm_eval(*words: str, command: tuple[str, ...] = ("-m", "lm_eval")) -> Any:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command, *words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_the_command_prints_every_length(checkpoint: str, tmp_path: Path) -> None:
    script = str(Path(sys.executable).parent / "lm_eval")
    done = lm_eval(
        "--model=scaling_rope",
        f"--model_args=pretrained={checkpoint},rope_theta=500,log_scale=True,dynamic_ntk=per_query",
        "--tasks=builtin_cumulative",
        f"--include_path={TASKS}",
        "--metadata=lengths=[64,300]",
        "--device=cpu",
        f"--output_path={tmp_path}",
        command=(script,),
    )
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("results_*.json")
    stored = json.loads(file.read_text())
    results = stored["results"]["builtin_cumulative"]
    from rope_eval.backends.hf.loading import encode, load_model, load_tokenizer
    from rope_eval.data.books import read_books

    (book,) = read_books("builtin")
    ids = encode(load_tokenizer(checkpoint), book.text)
    spec = RopeSpec(rope_theta=500, log_scale=True, dynamic_ntk="per_query")
    with patched(load_model(checkpoint, device="cpu"), spec) as model:
        for length in (64, 300):
            nll = score_tokens(model, ids[:length]).nll
            measured = results[f"perplexity@{length},none"]
            assert measured == pytest.approx(math.exp(nll.mean(dtype="float64")), rel=1e-5)
            assert f"perplexity@{length}" in done.stdout
            assert f"accuracy@{length}" in done.stdout
    assert results["documents,none"] == 1
    assert results["tokens,none"] == 299
    assert stored["config"]["rope"] == spec.to_dict()
    base = {"value": 10000.0, "source": "the config's own base"}
    assert stored["config"]["laws"]["pretrain_theta"] == base
    asked = stored["configs"]["builtin_cumulative"]
    assert asked["metadata"]["lengths"] == [64, 300]
    assert asked["metadata"]["books"] == "builtin"
    assert "Python documentation" in asked["description"]


def test_the_command_with_books_of_ones_own(checkpoint: str, tmp_path: Path) -> None:
    for name, words in (("a", 40), ("b", 60), ("c", 2)):
        (tmp_path / f"{name}.txt").write_text("some words " * words)
    done = lm_eval(
        "--model=scaling_rope",
        f"--model_args=pretrained={checkpoint},dynamic_ntk=per_sequence",
        "--tasks=books3_cumulative",
        f"--include_path={TASKS}",
        f"--metadata=books={tmp_path},lengths=[64,256]",
        "--device=cpu",
    )
    assert done.returncode == 0, done.stderr
    table = {
        cells[5].strip(): float(cells[7])
        for line in done.stdout.splitlines()
        if (len(cells := line.split("|")) > 8 and "@" in line) or "|documents" in line
    }
    assert table["documents"] == 2
    assert table["documents_too_short"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model=hf", "--tasks=builtin_cumulative"), "run it with --model scaling_rope"),
        (("--model=scaling_rope", "--tasks=books3_cumulative"), "--metadata books=PATH"),
        (
            ("--model=scaling_rope", "--tasks=builtin_cumulative", "--metadata=lengths=[8,4]"),
            "lengths must increase",
        ),
        (
            ("--model=scaling_rope", "--tasks=builtin_cumulative", "--metadata=lengths=[0]"),
            "whole numbers of 2 or more",
        ),
        (
            ("--model=scaling_rope", "--tasks=builtin_cumulative", "--metadata=docs=2"),
            "give read_docs=N",
        ),
    ],
)
def test_mistakes_exit_with_2_and_no_traceback(
    checkpoint: str, words: tuple[str, ...], message: str
) -> None:
    done = lm_eval(
        *words, f"--model_args=pretrained={checkpoint}", f"--include_path={TASKS}", "--device=cpu"
    )
    assert done.returncode == 2
    assert "lm_eval: error: " in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trust_remote_code": "no"}, "trust_remote_code must be True or False, got 'no'"),
        ({"use_safetensors": 1}, "use_safetensors must be true or false"),
        ({"device": "meta"}, "the device 'meta' cannot be used here"),
        ({"device": "gpu:x"}, "the device 'gpu:x' cannot be used here"),
        ({"attn_implementation": "kernels-community/flash-attn"}, "would fetch code from the hub"),
        ({"attn_implementation": "flash_attention_2"}, "would fetch code from the hub"),
        ({"use_kernels": True}, "use_kernels fetches code from the hub"),
        ({"kernel_config": "x"}, "kernel_config fetches code from the hub"),
    ],
)
def test_arguments_that_make_no_sense(
    checkpoint: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(RopeEvalError, match=message):
        ScalingRopeLM(pretrained=checkpoint, **({"device": "cpu"} | arguments))


def test_kernels_that_the_config_of_a_model_on_the_hub_asks_for(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["attn_implementation"] = "kernels-community/flash-attn"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="would fetch code from the hub"):
        ScalingRopeLM(pretrained=str(tmp_path), device="cpu")
    # the files of a name on the hub are not there to be looked at
    monkeypatch.setattr("rope_eval.hosts.lm_eval.model.check_weights", lambda *_, **__: None)
    with pytest.raises(SpecError, match="would fetch code from the hub"):
        ScalingRopeLM(pretrained=str(tmp_path), device="cpu")


def test_the_plugin_is_free_elsewhere() -> None:
    program = (
        "import sys; print([m for m in sys.modules if m.startswith(('rope_eval', 'lm_eval'))])"
    )
    done = lm_eval("", command=("-c", program))
    assert done.stdout.strip() == "[]"


def test_the_plugin_gives_way_to_entry_points() -> None:
    program = (
        "import importlib.metadata as md\n"
        "from lm_eval.api.registry import model_registry\n"
        "(found,) = [e for e in md.entry_points(group='lm_eval.models')"
        " if e.name == 'scaling_rope']\n"
        "model_registry.register('scaling_rope', target=found)\n"
        "import lm_eval.models\n"
        "from rope_eval.hosts.lm_eval.plugin import register\n"
        "register()\n"
        "print(model_registry._objs['scaling_rope'] is found)\n"
        "print(model_registry.get('scaling_rope').__name__)\n"
    )
    done = lm_eval("", command=("-c", program))
    assert done.stdout.split() == ["True", "ScalingRopeLM"], done.stderr


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft calls it
def test_an_adapter_on_top_of_the_model(checkpoint: str, tmp_path: Path) -> None:
    import peft

    base = AutoModelForCausalLM.from_pretrained(checkpoint)
    adapter = peft.get_peft_model(base, peft.LoraConfig(target_modules=["q_proj", "v_proj"]))
    for name, parameter in adapter.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    adapter.save_pretrained(tmp_path)
    adapter.merge_and_unload().save_pretrained(tmp_path / "merged")
    build_tokenizer().save_pretrained(tmp_path / "merged")
    spec = "rope_theta=500,dynamic_ntk=per_query,reference_length=20"
    ours = scaling(checkpoint, spec, peft=str(tmp_path))
    merged = scaling(str(tmp_path / "merged"), spec)
    texts = requests("loglikelihood_rolling", [(CONTEXTS[1] * 2,)])
    assert ours.loglikelihood_rolling(texts, disable_tqdm=True) == pytest.approx(
        merged.loglikelihood_rolling(texts, disable_tqdm=True), abs=1e-3
    )
    assert [score for score, _ in loglikelihoods(ours)] == pytest.approx(
        [score for score, _ in loglikelihoods(merged)], abs=1e-3
    )


def test_mixed_precision_as_hf_does(checkpoint: str) -> None:
    texts = requests("loglikelihood_rolling", [(CONTEXTS[1] * 2,)])
    arguments = {"pretrained": checkpoint, "device": "cpu", "max_length": 200}
    full, mixed = (
        ScalingRopeLM(**arguments, mixed_precision_dtype=dtype) for dtype in (None, "bfloat16")
    )
    theirs = HFLM(**arguments, mixed_precision_dtype="bfloat16")
    (a,), (b,), (c,) = (
        lm.loglikelihood_rolling(texts, disable_tqdm=True) for lm in (full, mixed, theirs)
    )
    assert a != b
    assert b == pytest.approx(c, rel=0.02)


def test_kept_answers_are_of_their_own_setting(checkpoint: str, tmp_path: Path) -> None:
    """One --use_cache for a sweep: each setting its own numbers, and each kept (lm-eval 2715)."""
    asked = requests("loglikelihood", [(c, k) for c in CONTEXTS for k in CONTINUATIONS])
    rolling = requests("loglikelihood_rolling", [("It was the best of times. " * 20,)])
    for spec, more in (("", {}), ("rope_theta=500", {}), ("rope_theta=500", {"chunk_size": 16})):
        alone = scaling(checkpoint, spec, **more)
        for _ in range(2):
            kept = CachingLM(scaling(checkpoint, spec, **more), str(tmp_path / "answers.db"))
            assert kept.loglikelihood(asked) == alone.loglikelihood(asked)
            assert kept.loglikelihood_rolling(rolling) == alone.loglikelihood_rolling(rolling)
        tables = kept.dbdict.get_tablenames(kept.dbdict.filename)
        kept.lm._loglikelihood_tokens = kept.lm._score_windows = None  # not asked again
        kept.loglikelihood(asked)
        kept.loglikelihood_rolling(rolling)
        kept.dbdict.close()
    assert len(tables) == 4  # lm-eval's own, empty, and three


def test_kept_answers_are_of_the_weights_in_memory(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """A loaded model that is changed between two runs has no answer of the first."""
    model = models.build(models.config_of("llama", vocab_size=257))
    asked, answers = requests("loglikelihood", [("It was", " the best")]), []
    for _ in range(2):
        lm = ScalingRopeLM(pretrained=model, tokenizer=tokenizer, max_length=200, device="cpu")
        kept = CachingLM(lm, str(tmp_path / "answers.db"))
        answers += kept.loglikelihood(asked)
        kept.dbdict.close()
        lm.close()
        with torch.no_grad():
            model.lm_head.weight[:64] *= 2.0
    assert answers[0] != answers[1]


def test_a_field_that_requests_are_too_short_for_is_said_recorded_and_strictly_refused(
    checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    setting: dict[str, Any] = {"pretrained": checkpoint, "device": "cpu"}
    setting |= {"log_scale": True, "reference_length": 40.5, "max_length": 100}
    short, longer = [("It was", " x")], [("a" * 40, " x"), ("It", " was")]
    with ScalingRopeLM(**setting) as lm:
        lm.loglikelihood(requests("loglikelihood", short))
        line = "note: log_scale changes nothing in 9 tokens, the longest loglikelihood request: "
        said = capsys.readouterr().err
        assert line + "it begins at 42\n" in said, said[:400]
        lm.loglikelihood(requests("loglikelihood", longer))
        lm.generate_until(requests("generate_until", [("It was", {"max_gen_toks": 35})]))
        assert "it begins" not in capsys.readouterr().err
        lm.loglikelihood_rolling(requests("loglikelihood_rolling", [("It was",)]))
        said = capsys.readouterr().err
        assert "the longest loglikelihood_rolling request: it begins at 42\n" in said
        reach = lm.get_model_info()["reach"]
        assert reach["effective_from"] == {"log_scale": 42}
        assert reach["longest"] == {
            "loglikelihood": 43,
            "generate_until": 42,
            "loglikelihood_rolling": 8,
        }
    with ScalingRopeLM(**setting, strict=True) as lm:
        lm.loglikelihood(requests("loglikelihood", longer))
        with pytest.raises(SpecError, match="the longest generate_until request: it begins at 42"):
            lm.generate_until(requests("generate_until", [("It was", {"max_gen_toks": 3})]))
        with pytest.raises(SpecError, match="the longest token_loglikelihoods request"):
            lm.token_loglikelihoods(requests("token_loglikelihoods", [("a" * 60, (10, 41))]))
        assert lm.token_loglikelihoods(requests("token_loglikelihoods", [("a" * 60, (10, 42))]))
    with (
        ScalingRopeLM(**setting, strict=True) as lm,
        pytest.raises(SpecError, match="changes nothing in 9 tokens"),
    ):
        lm.loglikelihood(requests("loglikelihood", short))
