"""`lm_eval --model scaling_rope --model_args backend=vllm`: lm-eval's `vllm` under a RopeSpec."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.utils import resolve_max_length
from lm_eval.models.vllm_causallms import VLLM
from torch import Tensor
from tqdm import tqdm
from vllm import EngineArgs

from rope_eval.backends.hf.loading import load_config
from rope_eval.backends.vllm import engine as vllm_engine
from rope_eval.backends.vllm.families import config_geometry
from rope_eval.errors import LengthError, SpecError
from rope_eval.hosts.lm_eval.arguments import check_weights, take_setting
from rope_eval.hosts.lm_eval.documents import DocumentsMixin
from rope_eval.hosts.lm_eval.kept_answers import asked
from rope_eval.results.identity import fingerprint
from rope_eval.rope.rotary import Rotary
from rope_eval.scores import TokenScores
from rope_eval.scoring.by_base import score_by_base

VLLM_ARGUMENTS = (
    *tuple(inspect.signature(VLLM.__init__).parameters)[1:-1],
    *(field.name for field in dataclasses.fields(EngineArgs)),
)
LoglikelihoodRequest = tuple[tuple[str, str], list[int], list[int]]


class ScalingRopeVLLM(DocumentsMixin, VLLM):
    """lm-eval's `vllm` model with every `RopeSpec` field as a model argument.

    Args:
        pretrained: a directory, or a name on the hub.
        config: a row of the catalogue, instead of `pretrained` and the RopeSpec fields.
        truncation: lose the beginning of what is longer than max_length, as lm-eval's `vllm` does
            with a warning; without it that is an error.
        max_length: tokens of the longest sequence; by default what the checkpoint's config says.
        max_model_len: another name of max_length.
        **arguments: RopeSpec's fields by their names, every argument of lm-eval's `vllm`, and so
            every argument of `vllm.LLM`.
    """

    def __init__(
        self,
        pretrained: str | None = None,
        config: str | None = None,
        truncation: bool = False,
        max_length: int | None = None,
        max_model_len: int | None = None,
        **arguments: Any,
    ):
        setting, arguments = take_setting(pretrained, config, arguments, VLLM_ARGUMENTS)
        checkpoint, self.rope_spec = setting.checkpoint, setting.rope
        self._asked = {"checkpoint": checkpoint, **asked(arguments)}
        if not isinstance(checkpoint, str):
            raise SpecError("backend=vllm loads its model itself: give pretrained=DIR")
        engine = vllm_engine.engine_arguments(self.rope_spec, arguments)
        remote_code = bool(arguments.get("trust_remote_code"))
        vllm_engine.refuse_gguf(checkpoint)
        check_weights(checkpoint, arguments, allow_pickle=False)
        self.truncation = truncation
        length = max_length or max_model_len
        if length is None:
            length = resolve_max_length(load_config(checkpoint, trust_remote_code=remote_code))
        super().__init__(
            pretrained=checkpoint,
            max_model_len=int(length) + 2,  # a rolling window's first token, and one generated
            **engine,
        )
        self._max_length = int(length)
        self.proof: dict[str, Any] | str = "off"  # engines apart are not asked
        if self.data_parallel_size <= 1:
            vllm_engine.check_applied(self.model, self.rope_spec)
            self.proof = vllm_engine.proof(self.rope_spec)

    def _identity(self) -> dict[str, Any]:
        return {"weights": fingerprint(self._asked["checkpoint"]), "asked": self._asked}

    # ---- scores --------------------------------------------------------------------------------

    def _score_texts(self, texts: Sequence[Sequence[int]]) -> list[TokenScores]:
        outputs = self._model_generate(
            [list(text) for text in texts],
            generate=True,
            sampling_params=[vllm_engine.scoring_params(len(text)) for text in texts],
        )
        return [
            vllm_engine.scores_of(text, output) for text, output in zip(texts, outputs, strict=True)
        ]

    def _score_lengths(
        self, ids: Tensor, lengths: Sequence[int], progress: Callable[[float], None]
    ) -> dict[int, TokenScores]:
        rotary = Rotary(self.rope_spec, config_geometry(self._config))
        tokens = ids.tolist()
        return score_by_base(
            [rotary], lengths, lambda longest, _: self._score_texts([tokens[:longest]])[0], progress
        )

    def _score_windows(self, windows: Iterable[list[int]]) -> Iterator[TokenScores]:
        yield from self._score_texts(list(windows))

    def _loglikelihood_tokens(
        self, requests: list[LoglikelihoodRequest], disable_tqdm: bool = False, **options: Any
    ) -> list[tuple[float, bool]]:
        longest = self.max_length + 1  # as in `hf`: the last token is never an input
        texts = [(*context, *continuation) for _, context, continuation in requests]
        if (most := max(map(len, texts))) > longest and not self.truncation:
            raise LengthError(
                f"a request of {most} tokens is longer than max_length={self.max_length}: "
                "give max_length=…, or truncation=True to lose its beginning"
            )
        order = sorted(range(len(texts)), key=lambda i: (-len(texts[i]), texts[i]))
        size = len(order) if self.batch_size == "auto" else int(self.batch_size)
        answers: dict[int, tuple[float, bool]] = {}
        for first in tqdm(range(0, len(order), size), disable=disable_tqdm or self.rank != 0):
            batch = order[first : first + size]
            for place, scores in zip(
                batch, self._score_texts([texts[i][-longest:] for i in batch]), strict=True
            ):
                key, _, continuation = requests[place]
                scored = slice(-len(continuation), None)
                total = -float(scores.nll[scored].sum(dtype="float64"))
                answers[place] = total, bool(scores.hit[scored].all())
                if key is not None:  # lm-eval's own answers to them are kept
                    self.cache_hook.add_partial("loglikelihood", key, answers[place])
        return [answers[i] for i in range(len(requests))]

    # ---- generation ----------------------------------------------------------------------------

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continue prompts, and refuse to lose the beginning of one unless truncation=True."""
        for request in requests if not self.truncation else ():
            prompt, generation = request.args
            _, _, room = self.modify_gen_kwargs(generation, default_max_gen_toks=self.max_gen_toks)
            tokens = len(self.tok_encode(prompt))
            if tokens + room > self.max_length:
                raise LengthError(
                    f"a prompt of {tokens} tokens leaves no room to generate {room} in "
                    f"max_length={self.max_length}: give max_length=…, or truncation=True to lose "
                    "its beginning"
                )
        answers: list[str] = super().generate_until(requests, disable_tqdm)
        return answers

    @staticmethod
    def modify_gen_kwargs(
        gen_kwargs: dict[str, Any],
        eos: str | list[str] | None = None,
        default_max_gen_toks: int = 256,
    ) -> tuple[dict[str, Any], list[str], int]:
        """Return vLLM's sampling arguments: greedy where a task says nothing, as under `hf`."""
        if "temperature" not in gen_kwargs and not gen_kwargs.get("do_sample"):
            gen_kwargs = gen_kwargs | {"temperature": 0.0}
        changed: tuple[dict[str, Any], list[str], int] = VLLM.modify_gen_kwargs(
            gen_kwargs, eos, default_max_gen_toks
        )
        return changed
