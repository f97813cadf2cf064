"""Numbers that the authors' own code gave on the same tiny weights, at the commits of the registry.

Log-probabilities, each of the token that follows: `docs/methods.md` says how they were computed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pytest
import torch
from transformers import PreTrainedModel

from helpers.models import build, config_of, log_probabilities, tiny, token_ids
from rope_eval import RopeSpec
from rope_eval.backends.hf.compat import cache_argument
from rope_eval.backends.hf.patch import patched
from rope_eval.rope import methods

AT = (9, 17, 33, 65, 94)  # positions of the tokens that predict
PROMPT = 24  # tokens before decoding begins
TOLERANCE = 2e-4  # nats: theirs are rounded to four decimals, of float32 in another transformers
APART = 0.01


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What one setting is in the authors' code.

    Attributes:
        commit: of the code; None for transformers' plain model.
        setting: the same, as ours.
        log_p: what it gave, at the positions `AT`.
        others: readings that it does not have.
        model: of the weights.
        length: tokens read.
    """

    commit: str | None
    setting: str
    log_p: tuple[float, ...]
    others: tuple[str, ...] = ()
    model: str = "llama"
    length: int = 96


LONGROPE = "longrope_factors=1:1.5:2:3:4:6:8:9"
QWEN_NTK = "dynamic_ntk=per_sequence,ntk_formula=qwen"
CONTINUOUS = "dynamic_ntk=per_sequence,ntk_formula=continuous,ntk_factor=3"
LOG = "log_scale=true,reference_length=32"
REFERENCES = (
    Reference(
        commit=None,  # where this fails, it is the weights that differ, and not the methods
        setting="",
        log_p=(-13.5182, -6.5661, -13.3514, -4.8688, -8.0338),
    ),
    Reference(
        commit="acfe788",
        setting=f"rerope_window=16,{LOG}",
        log_p=(-13.5182, -6.5969, -13.6599, -6.0063, -6.4961),
        others=("rerope_window=16", f"rerope_window=17,{LOG}", f"rerope_window=15,{LOG}"),
    ),
    Reference(
        commit="acfe788",
        setting=f"leaky_rerope_window=16,leaky_rerope_factor=8,{LOG}",
        log_p=(-13.5182, -6.5960, -13.7370, -5.1086, -9.9792),
        others=(
            "leaky_rerope_window=16,leaky_rerope_factor=8",
            f"leaky_rerope_window=17,leaky_rerope_factor=8,{LOG}",
        ),
    ),
    Reference(
        commit="cdbbb06",
        setting="self_extend_window=16,self_extend_group=8",
        log_p=(-13.5182, -6.5969, -13.6461, -6.0851, -9.6565),
        others=("self_extend_window=24,self_extend_group=8", "rerope_window=16"),
    ),
    Reference(
        commit="cdbbb06",
        setting=f"self_extend_window=16,self_extend_group=4,{LOG}",
        log_p=(-13.5182, -6.5969, -13.5022, -3.5461, -8.8715),
        others=(f"leaky_rerope_window=16,leaky_rerope_factor=4,{LOG}",),
    ),
    Reference(
        commit="2add4d7",
        setting="dual_chunk_size=20",
        log_p=(-13.5182, -6.5661, -10.7220, -6.5070, -7.9945),
        others=("dual_chunk_size=20,dual_chunk_limit=23",),  # queries at c − 1 at most
    ),
    Reference(
        commit="2add4d7",
        setting="dual_chunk_size=15,dual_chunk_limit=24",
        log_p=(-13.5182, -6.5661, -11.9225, -6.1418, -8.2283),
        others=("dual_chunk_size=15,dual_chunk_limit=23",),
    ),
    Reference(
        commit="2add4d7",  # 0.05·ln 3 + 1
        setting="dual_chunk_size=20,attention_factor=1.0549306144334054",
        log_p=(-13.5798, -6.4884, -10.8090, -7.1567, -8.1505),
        others=("dual_chunk_size=20",),
    ),
    Reference(
        commit="216cc2f",
        setting="string_shift=16,string_window=4",
        log_p=(-13.5849, -6.3394, -14.0281, -8.6913, -8.6518),
        others=(
            "string_shift=17,string_window=5",  # the same shift, d = S near
            "string_shift=16,string_window=4,attention_factor=1",
        ),
    ),
    Reference(
        commit="260a8bb",
        setting="drope=true",
        log_p=(-10.3878, -10.3780, -12.4879, -8.4730, -9.0353),
    ),
    Reference(
        commit="260a8bb",
        setting="drope=true,softmax_scale=0.5",
        log_p=(-9.8866, -10.2259, -14.4529, -8.3512, -9.4688),
        others=("drope=true",),
    ),
    Reference(
        commit="ed52ba5",
        setting="cope=20",
        log_p=(-5.1264, -3.5618, -3.2164, -10.6258, -6.9849),
        others=("cope=19", "cope=21"),
        model="wide",
    ),
    Reference(
        commit="ed52ba5",
        setting="hard_clip=20",
        log_p=(-4.9155, -3.7863, -3.5768, -10.8837, -12.2732),
        others=("hard_clip=19", "hard_clip=21"),
        model="wide",
    ),
    Reference(
        commit="ed52ba5",
        setting="cope=20,yarn_factor=4",
        log_p=(-6.2974, -3.2284, -5.0366, -9.8254, -7.1777),
        others=("yarn_factor=4",),
        model="wide",
    ),
    Reference(
        commit="ed52ba5",  # its HardClip with `dynamic` scaling, past the length of the config
        setting=f"cope=20,{CONTINUOUS}",
        log_p=(-5.0646, -2.9351, -5.0738, -8.5670, -9.5459),
        others=(f"hard_clip=20,{CONTINUOUS}",),
        model="wide",
    ),
    Reference(
        commit="4a7f5a7",
        setting="resonance=true",
        log_p=(-13.1922, -5.4835, -11.2037, -4.9290, -9.1678),
    ),
    Reference(
        commit="4a7f5a7",
        setting="resonance=true,yarn_factor=4",
        log_p=(-12.0193, -4.9899, -15.7560, -9.8341, -11.7440),
        others=("yarn_factor=4",),
    ),
    Reference(
        commit="c9e56aa",
        setting=f"{LONGROPE},longrope_ratio=4",
        log_p=(-12.3285, -4.8149, -13.5317, -7.4005, -9.0262),
        others=(LONGROPE,),
    ),
    Reference(
        commit="c9e56aa",  # 0.1·ln 4 + 1
        setting=f"{LONGROPE},attention_factor=1.1386294361119891",
        log_p=(-12.4995, -4.8008, -13.3318, -7.4533, -8.8884),
        others=(f"{LONGROPE},longrope_ratio=4",),
    ),
    *(
        Reference(commit="b50fb95", setting=QWEN_NTK, log_p=log_p, model="qwen", length=length)
        for length, log_p in (
            (33, (-9.4334, -6.9734)),
            (64, (-9.4334, -6.9734, -1.6773)),
            (65, (-9.7089, -6.8937, -1.1095)),
        )
    ),
    Reference(
        commit="b50fb95",
        setting=QWEN_NTK,
        log_p=(-9.7089, -6.8937, -1.1095, -13.2559, -7.9360),
        others=("dynamic_ntk=per_sequence", "dynamic_ntk=per_query"),
        model="qwen",
    ),
    Reference(
        commit="b50fb95",  # its decoding after a prompt of 60 tokens
        setting="ntk_alpha=3",
        log_p=(-9.4334, -6.9734, -1.6773, -11.8936, -5.7477),
        others=(QWEN_NTK,),
        model="qwen",
    ),
    Reference(
        commit="b50fb95",
        setting=LOG,
        log_p=(-9.1369, -6.7095, -3.5997, -8.8729, -3.7273),
        others=("log_scale=true,reference_length=33",),
        model="qwen",
    ),
    Reference(
        commit="b50fb95",
        setting=f"log_scale=true,{QWEN_NTK}",
        log_p=(-9.7089, -6.8937, -1.1106, -13.3473, -7.3896),
        model="qwen",
    ),
    Reference(
        commit="a9c89c4",
        setting="llama3_factor=8",
        log_p=(-11.8553, -4.9766, -13.5959, -5.8009, -7.5479),
        others=("llama3_factor=8,low_freq_factor=1.1",),
    ),
    Reference(
        commit="a9c89c4",
        setting="llama3_factor=16,high_freq_factor=2",
        log_p=(-12.6019, -4.7508, -13.7579, -8.8751, -6.9611),
        others=("llama3_factor=16",),
    ),
    Reference(
        commit="a9c89c4",
        setting="drope=true,attn_temperature=llama4,floor_scale=4,attn_scale=1",
        log_p=(-9.8778, -10.1846, -14.0530, -8.6601, -10.3663),
        others=("drope=true,attn_temperature=ministral3,floor_scale=4,attn_scale=1",),
    ),
    Reference(
        commit="7691fd4",
        setting="rotated_share=0.35",  # 2.8 of 8 pairs: 2
        log_p=(-13.3754, -3.5362, -12.4088, -8.1142, -5.8994),
        others=("rotated_share=0.375",),
    ),
    Reference(
        commit="7691fd4",
        setting="rotated_share=0.25,linear_factor=4",
        log_p=(-11.6605, -6.0070, -11.3791, -8.3441, -7.2405),
        others=("rotated_share=0.25",),
    ),
    Reference(
        commit="4d1e0e8",
        setting="xpos=true,reference_length=20",
        log_p=(-13.1139, -7.0989, -11.6056, -4.3668, -8.1524),
        others=("xpos=true,reference_length=21",),
    ),
    Reference(
        commit="995db5b",
        setting="linear_factor=4",
        log_p=(-11.7017, -6.1901, -13.1091, -5.0334, -6.5568),
    ),
    Reference(
        commit="995db5b",
        setting="ntk_alpha=8",
        log_p=(-12.8476, -4.8778, -11.7397, -6.5850, -7.0732),
        others=("rope_theta=80000",),  # without d/(d − 2)
    ),
    Reference(
        commit="995db5b",
        setting="ntk_parts_factor=4",
        log_p=(-12.9891, -3.9863, -11.9136, -6.5436, -7.5413),
        others=("yarn_factor=4,attention_factor=1", "ntk_alpha=4"),
    ),
    Reference(
        commit="995db5b",
        setting="ntk_parts_factor=4,train_length=7",
        log_p=(-11.7122, -5.4939, -14.2211, -4.2495, -7.8266),
    ),
    Reference(
        commit="995db5b",
        setting="yarn_factor=4",
        log_p=(-12.3441, -4.7019, -15.9180, -7.8007, -9.5691),
        others=("yarn_factor=4,yarn_truncate=false", "yarn_factor=4,attention_factor=1"),
    ),
    Reference(
        commit="995db5b",
        setting=CONTINUOUS,
        log_p=(-12.8826, -4.8778, -11.6724, -6.2358, -6.9831),
        others=("dynamic_ntk=per_sequence",),
    ),
    Reference(
        commit="995db5b",
        setting="dynamic_yarn=continuous",
        log_p=(-12.5138, -4.6533, -14.5933, -6.7979, -10.0999),
        others=("yarn_factor=4", "dynamic_yarn=octave"),
    ),
)
CHECKED = [
    (checked.commit, setting)
    for method in methods.METHODS
    for checked in method.checked
    for setting in checked.settings
]


@functools.cache
def model_of(name: str) -> PreTrainedModel:
    if name == "wide":  # more pairs than CoPE's 20
        return build(config_of("llama", head_dim=64))
    if name == "qwen":  # its first models share no keys
        return build(config_of("qwen2", num_key_value_heads=4))
    return tiny(name)


def next_log_p(log_p: torch.Tensor, tokens: torch.Tensor) -> list[float]:
    """Return what the tokens after `AT` get, as far as there are any."""
    at = [t for t in AT if t + 1 < tokens.shape[1]]
    return [float(log_p[0, t, tokens[0, t + 1]]) for t in at]


def ours(reference: Reference, setting: str) -> list[float]:
    tokens = token_ids(96)[:, : reference.length]
    model = model_of(reference.model)
    with patched(model, RopeSpec.parse(setting)):
        return next_log_p(log_probabilities(model, tokens), tokens)


def named(reference: Reference) -> str:
    return f"{reference.commit}-{reference.setting}-{reference.length}"


@pytest.mark.parametrize("reference", REFERENCES, ids=named)
def test_a_forward_pass_is_the_authors(reference: Reference) -> None:
    assert ours(reference, reference.setting) == pytest.approx(reference.log_p, abs=TOLERANCE)


@pytest.mark.parametrize(
    "reference",
    # where the frequencies follow the length, earlier tokens were read under those of a shorter one
    [one for one in REFERENCES if RopeSpec.parse(one.setting).base_changes == "never"],
    ids=named,
)
@torch.no_grad()
def test_decoding_is_the_authors(reference: Reference) -> None:
    tokens, model = token_ids(96), model_of(reference.model)
    name = cache_argument(model)
    with patched(model, RopeSpec.parse(reference.setting)):
        cached = model(tokens[:, :PROMPT], use_cache=True)
        logits = [cached.logits]
        for t in range(PROMPT, tokens.shape[1]):
            cached = model(tokens[:, t : t + 1], **{name: cached.past_key_values})
            logits.append(cached.logits)
    found = next_log_p(torch.cat(logits, dim=1).double().log_softmax(-1), tokens)
    assert found == pytest.approx(reference.log_p, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("reference", "other"),
    [
        pytest.param(reference, other, id=f"{named(reference)}-{other}")
        for reference in REFERENCES
        for other in reference.others
    ],
)
def test_another_reading_is_told_apart(reference: Reference, other: str) -> None:
    pairs = zip(ours(reference, other), reference.log_p, strict=True)
    assert max(abs(found - theirs) for found, theirs in pairs) > APART


@pytest.mark.parametrize(("commit", "setting"), CHECKED)
def test_what_the_page_says_has_numbers(commit: str, setting: str) -> None:
    assert (commit, setting) in {(one.commit, one.setting) for one in REFERENCES}


def test_numbers_are_of_code_that_the_page_names() -> None:
    commits = {one.commit for one in REFERENCES if one.commit is not None}
    assert commits == {commit for commit, _ in CHECKED}
