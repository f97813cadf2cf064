"""`ScalingRope` against a float64 brute force, our scorer and the lm-eval model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance

from helpers import brute_force, models
from rope_eval import RopeSpec, score_tokens
from rope_eval.backends.hf.loading import encode, load_model
from rope_eval.errors import DataError, LengthError, SpecError
from rope_eval.hosts.lm_eval.model import ScalingRopeLM
from rope_eval.hosts.opencompass.model import ScalingRope
from rope_eval.rope.methods import METHODS
from rope_eval.rope.spec import FIELDS
from rope_eval.scoring.texts import whole_nll

ROOT = Path(__file__).parents[2]
LAB = str(ROOT / "model_configs" / "lab" / "base-1e4")
SPECS: dict[str, dict[str, Any]] = {
    "neutral": {},
    "base, log and xpos": {
        "rope_theta": 500,
        "log_scale": True,
        "xpos": True,
        "reference_length": 16,
    },
    "per query": {"dynamic_ntk": "per_query", "reference_length": 24, "ntk_alpha": 2},
    "per sequence": {"dynamic_ntk": "per_sequence", "reference_length": 24, "linear_factor": 2},
    "continuous": {
        "dynamic_ntk": "per_sequence",
        "ntk_formula": "continuous",
        "ntk_factor": 2,
        "reference_length": 32,
    },
    "clip": {"beyond_critical": "clip", "train_length": 32, "tune_length": 32},
    "drop": {"beyond_critical": "drop", "pretrain_theta": 5000},
    "yarn": {"yarn_factor": 4, "layers": "all"},
}
for _text in (text for method in METHODS for text in method.examples):
    _fields = models.fitted(_text, 32).to_dict()
    if not _fields.keys() <= {name for fields in SPECS.values() for name in fields}:
        SPECS[_text] = _fields
TEXTS = ["Ada went to sea.", "x", "def f(a, b):\n    return a + b\n" * 2, "Ada went home."]
SAME = 2e-5  # nats a token


@pytest.fixture(params=SPECS, scope="module")
def model(request: pytest.FixtureRequest) -> Iterator[ScalingRope]:
    made = ScalingRope(path=LAB, device="cpu", max_seq_len=400, **SPECS[request.param])
    yield made
    made.close()


@pytest.fixture(scope="module")
def neutral() -> ScalingRope:
    return ScalingRope(path=LAB, device="cpu", max_seq_len=64)


def test_the_settings_here_use_every_field() -> None:
    assert {name for spec in SPECS.values() for name in spec} == set(FIELDS)


# ---- scores -------------------------------------------------------------------------------------


def test_ppl_is_the_brute_forces_mean_with_bos_counted(model: ScalingRope) -> None:
    stock = load_model(LAB, device="cpu")
    wanted = []
    for text in TEXTS:
        ids = [model.tokenizer.bos_token_id, *text.encode()]
        log_p = brute_force.log_probabilities(stock, model.rope_spec, ids)
        nll = -log_p[np.arange(len(ids) - 1), ids[1:]]
        wanted.append(nll.sum() / len(ids))
    got = model.get_ppl(TEXTS)
    assert isinstance(got, np.ndarray) and got.tolist() == pytest.approx(wanted, abs=SAME)


def test_ppl_is_our_scorers_and_batches_change_nothing(model: ScalingRope) -> None:
    texts = [*TEXTS, "Ada went to sea. " * 20]
    ids = [encode(model.tokenizer, text) for text in texts]
    wanted = [
        float(score_tokens(model.model, row).nll.sum(dtype=np.float64)) / len(row) for row in ids
    ]
    assert model.get_ppl(texts).tolist() == pytest.approx(wanted, abs=SAME)
    alone = [float(model.get_ppl([text])[0]) for text in texts]
    assert alone == pytest.approx(wanted, abs=SAME)


def test_ppl_is_the_lm_eval_models_whole_prompt(model: ScalingRope) -> None:
    lm = ScalingRopeLM(
        pretrained=LAB, device="cpu", max_length=400, batch_size=2, **model.rope_spec.to_dict()
    )
    requests = [Instance("whole_prompt_nll", {}, (text,), i) for i, text in enumerate(TEXTS)]
    means = [total / tokens for total, tokens in lm.whole_prompt_nll(requests)]
    assert model.get_ppl(TEXTS).tolist() == pytest.approx(means, abs=SAME)


def test_masked_tokens_do_not_count(model: ScalingRope) -> None:
    texts, masked = TEXTS[2:], [8, 1]
    got = model.get_ppl(texts, masked)
    for text, skipped, mean in zip(texts, masked, got, strict=True):
        nll = score_tokens(model.model, encode(model.tokenizer, text)).nll
        assert mean == pytest.approx(nll[skipped - 1 :].sum() / (len(nll) + 1 - skipped), abs=SAME)


def test_loglikelihood_is_the_lm_eval_models(model: ScalingRope) -> None:
    pairs = [("Ada went", " to sea."), ("x = [1, 2,", " 3]\n"), ("", "Ada")]
    lm = ScalingRopeLM(
        pretrained=LAB, device="cpu", max_length=400, batch_size=2, **model.rope_spec.to_dict()
    )
    wanted = lm.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs])
    got = model.get_loglikelihood([a + b for a, b in pairs], [b for _, b in pairs])
    assert got.tolist() == pytest.approx([score for score, _ in wanted], abs=1e-3)


def test_shared_beginnings_are_scored_as_each_alone(neutral: ScalingRope) -> None:
    shots = "Question: how many?\nAnswer: B\n\n" * 12
    rows = [neutral._scored(f"{shots}Answer: {letter}") for letter in "ABCD"]
    alone = [whole_nll(neutral.model, [row])[0] for row in rows]
    assert whole_nll(neutral.model, rows) == pytest.approx(alone, abs=2e-3)


# ---- generation ---------------------------------------------------------------------------------


def test_generation_is_the_lm_eval_models(model: ScalingRope) -> None:
    lm = ScalingRopeLM(
        pretrained=LAB, device="cpu", max_length=400, batch_size=4, **model.rope_spec.to_dict()
    )
    how = {"until": [], "max_gen_toks": 12, "do_sample": False}
    requests = [Instance("generate_until", {}, (text, how), i) for i, text in enumerate(TEXTS)]
    wanted = lm.generate_until(requests, disable_tqdm=True)
    assert all(wanted)
    assert model.generate(TEXTS, max_out_len=12) == wanted
    assert [model.generate([text], max_out_len=12)[0] for text in TEXTS] == wanted


def test_a_stop_ends_a_continuation_and_is_left_out(neutral: ScalingRope) -> None:
    (whole,) = neutral.generate(["def f(a, b):\n"], max_out_len=40)
    stop = whole[10:12]
    (stopped,) = neutral.generate(["def f(a, b):\n"], max_out_len=40, stopping_criteria=[stop])
    assert stopped == whole.split(stop)[0] and len(stopped) <= 10


# ---- lengths ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "kept"), [("left", "3456789"), ("right", "0123456"), ("middle", "0126789")]
)
def test_a_long_prompt_loses_one_side(side: str, kept: str, monkeypatch: Any) -> None:
    model = ScalingRope(path=LAB, device="cpu", max_seq_len=8, truncation=side)
    assert model.get_ppl(["0123456789"]) == model.get_ppl([kept])
    roomy = ScalingRope(path=LAB, device="cpu", max_seq_len=400)
    longer = ScalingRope(path=LAB, device="cpu", max_seq_len=8 + 5, truncation=side)
    assert longer.generate(["0123456789"], max_out_len=5) == roomy.generate([kept], max_out_len=5)
    lm = ScalingRopeLM(pretrained=LAB, device="cpu")
    monkeypatch.setattr(lm, "generate_until", lambda asked: [request.args[0] for request in asked])
    arguments = ("0123456789", {"until": [], "max_gen_toks": 5}, 8 + 5, side)
    assert lm.cut_generate_until([Instance("cut_generate_until", {}, arguments, 0)]) == [kept]


def test_a_long_prompt_is_refused_unless_it_may_be_cut(neutral: ScalingRope) -> None:
    for attempt in (
        lambda: neutral.get_ppl(["x" * 64]),
        lambda: neutral.generate(["x" * 60], max_out_len=5),
        lambda: neutral.get_ppl(["x" * 64], [3]),
        lambda: neutral.get_loglikelihood(["x" * 64], ["x"]),
    ):
        with pytest.raises(LengthError, match="max_seq_len"):
            attempt()
    assert neutral.get_ppl(["x" * 63]).shape == (1,)


def test_tokens_and_texts(neutral: ScalingRope) -> None:
    assert neutral.get_token_len("Ada") == 4
    assert neutral.encode("Ada").tolist() == [256, *b"Ada"]
    assert neutral.decode(torch.tensor([256, *b"Ada"])) == "Ada"
    assert neutral.get_token_len(neutral.tokenizer.bos_token + "Ada") == 4


# ---- arguments ----------------------------------------------------------------------------------


def test_a_row_of_the_catalogue_is_a_model() -> None:
    model = ScalingRope(config="lab/base-1e4", rope_theta=300, tokenizer_only=True)
    assert Path(model.path).samefile(LAB)
    assert model.rope_spec == RopeSpec(
        rope_theta=300, pretrain_theta=1e4, train_length=128, tune_length=128
    )
    off = ScalingRope(config="lab/base-1e5-drop", beyond_critical="keep", tokenizer_only=True)
    assert off.rope_spec == RopeSpec(
        rope_theta=1e5, pretrain_theta=1e4, train_length=128, tune_length=128
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": LAB, "rope_teta": 500}, SpecError, "Did you mean 'rope_theta'"),
        ({"path": LAB, "rope_scaling": {"type": "linear", "factor": 2}}, SpecError, "r_factor=2"),
        ({"path": LAB, "truncate": "left"}, SpecError, "Did you mean 'truncation'"),
        ({"path": LAB, "truncation": "top"}, SpecError, "left, right, middle, got 'top'"),
        ({"path": LAB, "backend": "vllm"}, SpecError, "must be hf, got 'vllm'"),
        ({"path": LAB, "max_seq_len": "many"}, SpecError, "got 'many'"),
        ({"path": LAB, "chunk_size": "abc"}, SpecError, "chunk_size must be a whole.*'abc'"),
        ({"path": LAB, "chunk_size": 0}, SpecError, "chunk_size must be .* 1 or more, got 0"),
        ({"path": LAB, "dtype": "abc"}, SpecError, "dtype must be one of auto.*'abc'"),
        ({"path": LAB, "allow_pickle": "yes"}, SpecError, "allow_pickle must be True or False"),
        ({"path": LAB, "generation_kwargs": "x"}, SpecError, "generation_kwargs must be a dict"),
        ({}, SpecError, "path=DIR, or config=NAME"),
        ({"config": "lab/base-2"}, DataError, "Did you mean 'lab/base-20'"),
        ({"config": "llama2-7b/base-500"}, DataError, "never released"),
        ({"path": "./nowhere"}, DataError, "nowhere"),
    ],
)
def test_a_mistake_is_named(arguments: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        ScalingRope(**arguments)


def test_a_text_must_end_with_its_continuation(neutral: ScalingRope) -> None:
    with pytest.raises(SpecError, match="does not end with 'home'"):
        neutral.get_loglikelihood(["Ada went to sea"], ["home"])


# ---- what changes nothing -----------------------------------------------------------------------


def test_a_field_that_texts_are_too_short_for_is_said_in_the_end_and_strictly_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    setting: dict[str, Any] = {"path": LAB, "device": "cpu", "log_scale": True}
    setting["reference_length"] = 40.5
    model = ScalingRope(**setting, max_seq_len=64)
    model.get_ppl(["x", "Ada"])
    model.get_ppl(["Ada went"])
    model.generate(["x"], 40)
    assert model.reach.longest == {"get_ppl": 9, "generate": 42}
    model.reach.say()
    line = (
        "note: log_scale changes nothing in 9 tokens, the longest get_ppl request: it begins at 42"
    )
    assert capsys.readouterr().err.splitlines()[-1:] == [line]
    model.close()
    strict = ScalingRope(**setting, max_seq_len=64, strict=True)
    strict.get_ppl(["x"])  # a later one may be longer
    with pytest.raises(SpecError, match="the longest score_document request: it begins at 42"):
        strict.score_document("Ada went to sea. " * 9, (20, 41))
    assert strict.score_document("Ada went to sea. " * 9, (20, 42))
    strict.close()
    shorter = ScalingRope(**setting, max_seq_len=41, strict=True)
    with pytest.raises(SpecError, match="in 41 tokens, max_seq_len: it begins at 42"):
        shorter.get_ppl(["x"])
    shorter.close()
