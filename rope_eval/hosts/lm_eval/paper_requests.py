"""What the tasks of Tables 3 to 5 ask of a model beyond lm-eval's own request types.

They work on every model of lm-eval that has its tokenizer in the process, as `hf` has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from tqdm import tqdm

from rope_eval.errors import LengthError, UnsupportedModelError
from rope_eval.protocols.truncation import cut
from rope_eval.scoring.texts import Family, Ids, whole_nll


def nll_by_loglikelihood(self: LM, requests: Sequence[Instance]) -> list[tuple[float, int]]:
    """Score whole texts by a model's own ``loglikelihood``, which every model of lm-eval has.

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
        shorter = cut(
            self.tokenizer,
            prompt,
            room,
            side,
            lambda text: len(self.tok_encode(text)),
            option="truncate_at",
        )
        needed = len(self.tok_encode(shorter)) + generation["max_gen_toks"]
        if needed > self.max_length:
            raise LengthError(
                f"{request.task_name}: a prompt and its continuation have {needed} tokens, and the "
                f"model's max_length is {self.max_length}: give --model_args max_length="
                f"{truncate_at}, or --metadata truncate_at={self.max_length} to cut prompts to it"
            )
        prompts.append(_request("generate_until", shorter, generation))
    return self.generate_until(prompts)


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


class SharedPromptsMixin:
    """Gives `ScalingRopeLM` a ``whole_prompt_nll`` that computes once what texts share.

    Those that share nothing go in batches through the model's own ``loglikelihood``, as every other
    model of lm-eval scores them all.
    """

    def whole_prompt_nll(self: Any, requests: Sequence[Instance]) -> list[tuple[float, int]]:
        """Score whole texts, as `nll_by_loglikelihood` does."""
        texts = dict.fromkeys(request.args[0] for request in requests)
        ids = {text: with_prefix(self, text) for text in texts}
        self.reach.expect("whole_prompt_nll", max(map(len, ids.values())))
        text_of = {some: text for text, some in ids.items()}

        def alone(some: list[Ids]) -> list[float]:
            asked = [_request("loglikelihood", "", text_of[each]) for each in some]
            return [-loglikelihood for loglikelihood, _ in self.loglikelihood(asked)]

        def track(alike: list[Family]) -> Iterable[Family]:
            return tqdm(alike, disable=not alike or self.rank != 0, desc="prompts alike")

        with self._autocast():
            totals = whole_nll(
                self.model,
                list(text_of),
                longest_shared=self.max_length + 1,
                alone=alone,
                track=track,
            )
        scores = dict(zip(text_of, totals, strict=True))
        return [(scores[ids[text]], len(ids[text])) for (text,) in (r.args for r in requests)]


_REQUEST_TYPES = {
    "whole_prompt_nll": nll_by_loglikelihood,
    "cut_generate_until": cut_generate_until,
    "missing_data": missing_data,
}
for _name, _method in _REQUEST_TYPES.items():
    if not hasattr(LM, _name):
        setattr(LM, _name, _method)
