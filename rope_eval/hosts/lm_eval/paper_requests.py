"""What the tasks of Tables 3 to 5 ask of a model beyond lm-eval's own request types.

They work on every model of lm-eval that has its tokenizer in the process, as `hf` has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from tqdm import tqdm

from rope_eval.errors import LengthError, UnsupportedModelError
from rope_eval.scoring.prefixes import Ids, families, sharing_pays, walk

Side = Literal["left", "right", "middle"]
SIDES: tuple[Side, ...] = ("left", "right", "middle")


def whole_prompt_nll(self: LM, requests: Sequence[Instance]) -> list[tuple[float, int]]:
    """Score whole texts.

    Args:
        self: a model.
        requests: with the arguments ``(text,)``.

    Returns:
        For each the sum of NLL over its tokens but BOS, in nats, and the number of its tokens, BOS
        counted.
    """
    _require_tokenizer(self, requests[0])
    texts = list(dict.fromkeys(request.args[0] for request in requests))
    answers = self.loglikelihood([_request("loglikelihood", "", text) for text in texts])
    scores = {
        text: (-loglikelihood, len(with_prefix(self, text)))
        for text, (loglikelihood, _) in zip(texts, answers, strict=True)
    }
    return [scores[request.args[0]] for request in requests]


def cut_generate_until(self: LM, requests: Sequence[Instance]) -> list[str]:
    """Continue prompts that are cut to a length first.

    Args:
        self: a model.
        requests: with the arguments ``(prompt, gen_kwargs, truncate_at, side)``: of a prompt
            that, with ``gen_kwargs["max_gen_toks"]``, has more than `truncate_at` tokens, the side
            ("left", "right" or "middle") is left out.

    Returns:
        The continuations.

    Raises:
        LengthError: where the model's own length is below what a prompt still needs.
    """
    _require_tokenizer(self, requests[0])
    prompts = []
    for request in requests:
        prompt, generation, truncate_at, side = request.args
        room = truncate_at - generation["max_gen_toks"]
        shorter = cut(self, prompt, room, side)
        needed = len(self.tok_encode(shorter)) + generation["max_gen_toks"]
        if needed > self.max_length:
            raise LengthError(
                f"{request.task_name}: a prompt and its continuation have {needed} tokens, and the "
                f"model's max_length is {self.max_length}: give --model_args max_length="
                f"{truncate_at}, or --metadata truncate_at={self.max_length} to cut prompts to it"
            )
        prompts.append(_request("generate_until", shorter, generation))
    return self.generate_until(prompts)


def cut(lm: Any, text: str, room: int, side: Side) -> str:
    """Leave out so much of one side of a text that it has `room` tokens at most."""
    excess = len(lm.tok_encode(text)) - room
    if excess <= 0:
        return text
    if not getattr(lm.tokenizer, "is_fast", False):
        raise UnsupportedModelError(
            "cutting long prompts needs a fast tokenizer, which knows where in the text its tokens "
            f"are; {type(lm.tokenizer).__name__} does not"
        )
    spans = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)[
        "offset_mapping"
    ]
    kept = len(spans)
    while excess > 0:  # tokens at a cut can join or split
        kept -= excess
        if kept < 1:
            raise LengthError(f"no token of a prompt fits: truncate_at leaves room for {room}")
        head = {"left": 0, "right": kept, "middle": kept // 2}[side]
        tail = kept - head
        shorter = text[: spans[head - 1][1]] if head else ""
        shorter += text[spans[-tail][0] :] if tail else ""
        excess = len(lm.tok_encode(shorter)) - room
    return shorter


def missing_data(self: LM, requests: Sequence[Instance]) -> list[None]:
    """Answer the only request of a task whose data is missing: nothing is asked of the model."""
    return [None] * len(requests)


def _request(kind: Any, *arguments: Any) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def with_prefix(lm: Any, text: str) -> Ids:
    """Return a text's tokens, BOS first (of a tokenizer without one, what lm-eval puts there)."""
    ids = lm.tok_encode(text, add_special_tokens=False)
    return tuple(ids) if ids[:1] == [lm.prefix_token_id] else (lm.prefix_token_id, *ids)


def _require_tokenizer(lm: LM, request: Instance) -> None:
    if getattr(lm, "tokenizer", None) is None or not hasattr(lm, "tok_encode"):
        raise UnsupportedModelError(
            f"{request.task_name} counts tokens, and {type(lm).__name__} has no tokenizer here: "
            "run it with --model scaling_rope (its neutral setting is the stock model) or hf"
        )


class WholePromptMixin:
    """Gives `ScalingRopeLM` a ``whole_prompt_nll`` that shares what texts have in common.

    Texts that begin alike (a question's choices, MMLU's five examples) are scored one after
    another along one cache, each from where it parts from the one before. The others go in batches
    through the function `whole_prompt_nll`.
    """

    def whole_prompt_nll(self: Any, requests: Sequence[Instance]) -> list[tuple[float, int]]:
        """Score whole texts, as the function `whole_prompt_nll` does."""
        ids: dict[str, Ids] = {}
        for request in requests:
            (text,) = request.args
            if text not in ids:
                ids[text] = with_prefix(self, text)
        texts = {some: text for text, some in ids.items()}
        by_alpha: dict[float, list[Ids]] = defaultdict(list)
        for some in texts:
            if len(some) <= self.max_length + 1:
                by_alpha[self._whole_alpha(len(some))].append(some)
        scores: dict[str, tuple[float, int]] = {}
        alike = [
            family
            for same_base in by_alpha.values()
            for family in families(same_base)
            if sharing_pays(family)
        ]
        for family in tqdm(alike, disable=not alike or self.rank != 0, desc="prompts alike"):
            with self._autocast():
                totals = list(walk(self.model, family))
            for some, total in zip(family, totals, strict=True):
                scores[texts[some]] = (total, len(some))
        alone = [request for request in requests if request.args[0] not in scores]
        if alone:
            answers = whole_prompt_nll(self, alone)
            scores |= {
                request.args[0]: answer for request, answer in zip(alone, answers, strict=True)
            }
        return [scores[request.args[0]] for request in requests]


for _method in (whole_prompt_nll, cut_generate_until, missing_data):
    if not hasattr(LM, _method.__name__):
        setattr(LM, _method.__name__, _method)
