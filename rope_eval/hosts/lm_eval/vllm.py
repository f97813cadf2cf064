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
from vllm import LLM, EngineArgs

from rope_eval.backends.hf.loading import load_config
from rope_eval.backends.hf.proof import is_wanted
from rope_eval.backends.vllm import engine as vllm_engine
from rope_eval.backends.vllm.answering import answering
from rope_eval.backends.vllm.geometry import config_geometry
from rope_eval.backends.vllm.starting import starting
from rope_eval.errors import LengthError, SpecError
from rope_eval.hosts.lm_eval.arguments import check_values, check_weights, take_setting
from rope_eval.hosts.lm_eval.cuts import Cuts
from rope_eval.hosts.lm_eval.documents import (
    DocumentsMixin,
    LoglikelihoodRequest,
    check_fits,
    check_rolling_bos,
)
from rope_eval.hosts.lm_eval.kept_answers import asked
from rope_eval.results.identity import adapter_digest, fingerprint
from rope_eval.results.resolved import resolved_dtype
from rope_eval.rope.reach import Reach
from rope_eval.rope.rotary import Rotary
from rope_eval.scores import TokenScores
from rope_eval.scoring.by_base import score_by_base
from rope_eval.scoring.engine_proof import proof_of_engine

VLLM_ARGUMENTS = (
    *tuple(inspect.signature(VLLM.__init__).parameters)[1:-1],
    "device",  # of lm-eval's command line; vLLM takes what it finds
    *tuple(inspect.signature(LLM.__init__).parameters)[1:-1],
    *(field.name for field in dataclasses.fields(EngineArgs)),
)


class ScalingRopeVLLM(DocumentsMixin, VLLM):
    """lm-eval's `vllm` model with every `RopeSpec` field as a model argument.

    Args:
        pretrained: a directory, or a name on the hub.
        config: a row of the catalogue, instead of `pretrained` and the RopeSpec fields.
        truncation: lose the beginning of what is longer than max_length, as lm-eval's `vllm` does
            with a warning; without it that is an error.
        max_length: tokens of the longest sequence; by default what the checkpoint's config says.
        max_model_len: another name of max_length.
        strict: as for `ScalingRopeLM`.
        chunk_size: tokens of the engine's steps: its max_num_batched_tokens.
        proof: "off" leaves out the comparison with the reference; workers are asked in any case.
        rolling_bos: as for `ScalingRopeLM`.
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
        strict: bool = False,
        chunk_size: int | None = None,
        proof: bool | str = True,
        rolling_bos: str = "hf",
        **arguments: Any,
    ):
        wanted = is_wanted(proof)
        self.rolling_bos = check_rolling_bos(rolling_bos)
        lengths = {"max_length": max_length, "max_model_len": max_model_len}
        own = {"chunk_size": chunk_size, "strict": strict, "truncation": truncation, **lengths}
        check_values({**own, **arguments}, VLLM.__init__, ScalingRopeVLLM.__init__)
        if max_length and max_model_len and max_length != max_model_len:
            raise SpecError(
                f"max_length={max_length} and max_model_len={max_model_len} are two names of one "
                "length: give one of them"
            )
        setting, arguments = take_setting(
            pretrained, config, arguments, VLLM_ARGUMENTS, passes_on=False
        )
        checkpoint, self.rope_spec = setting.checkpoint, setting.rope
        self._asked = {"checkpoint": checkpoint, "chunk_size": chunk_size, **asked(arguments)}
        if not isinstance(checkpoint, str):
            raise SpecError("backend=vllm loads its model itself: give pretrained=DIR")
        if chunk_size is not None:
            arguments = {"max_num_batched_tokens": chunk_size, **arguments}
        engine = vllm_engine.engine_arguments(self.rope_spec, arguments)
        remote_code = bool(arguments.get("trust_remote_code"))
        vllm_engine.refuse_gguf(checkpoint)
        check_weights(checkpoint, arguments, allow_pickle=False)
        self.truncation = truncation
        length = max_length or max_model_len
        if length is None:
            length = resolve_max_length(load_config(checkpoint, trust_remote_code=remote_code))
        with starting(checkpoint):
            super().__init__(
                pretrained=checkpoint,
                max_model_len=int(length) + 2,  # a rolling window's first token, and one generated
                **engine,
            )
        self._max_length = int(length)
        self._rotary = Rotary(self.rope_spec, config_geometry(self._config))
        self.reach = Reach(self._rotary.effective_from, strict=strict, stated=setting.stated)
        self.cuts = Cuts(strict=strict)
        self.proof: dict[str, Any] | str = "none: engines apart (data_parallel_size) are not asked"
        if self.data_parallel_size <= 1:
            self.proof = proof_of_engine(
                self.model,
                checkpoint,
                self.rope_spec,
                arguments,
                wanted=wanted,
                trust_remote_code=remote_code,
            )
        elif not wanted:
            self.proof = "off"

    def _dtype(self) -> str:
        if self.data_parallel_size <= 1:
            return str(vllm_engine.engine_dtype(self.model)).removeprefix("torch.")
        asked: str = self.model_args["dtype"]
        return resolved_dtype(self._asked["checkpoint"], asked, "vllm")

    def _identity(self) -> dict[str, Any]:
        adapter = self._asked.get("lora_local_path")
        return {
            "weights": fingerprint(self._asked["checkpoint"]),
            "adapter": adapter and adapter_digest(adapter),
            "asked": self._asked,
        }

    def _model_generate(self, *args: Any, **kwargs: Any) -> Any:
        with answering():
            return super()._model_generate(*args, **kwargs)

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
        tokens = ids.tolist()
        return score_by_base(
            [self._rotary],
            lengths,
            lambda longest, _: self._score_texts([tokens[:longest]])[0],
            progress,
        )

    def _score_windows(self, windows: Iterable[list[int]]) -> Iterator[TokenScores]:
        yield from self._score_texts(list(windows))

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Score continuations, and count the prompts that are cut."""
        self.cuts.ask(requests)
        answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm)
        return answers

    def _loglikelihood_tokens(
        self, requests: list[LoglikelihoodRequest], disable_tqdm: bool = False, **options: Any
    ) -> list[tuple[float, bool]]:
        longest = self.max_length + 1  # as in `hf`: the last token is never an input
        texts = [(*context, *continuation) for _, context, continuation in requests]
        check_fits(requests, self.max_length, truncation=self.truncation)
        too_long = [
            one[0] for one, text in zip(requests, texts, strict=True) if len(text) > longest
        ]
        self.cuts.lose(too_long, self.max_length)
        self.reach.expect("loglikelihood", min(max(map(len, texts)), longest))
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
        self.cuts.ask(requests)
        longest, too_long = 0, []
        for request in requests:
            prompt, generation = request.args
            _, _, room = self.modify_gen_kwargs(generation, default_max_gen_toks=self.max_gen_toks)
            tokens = len(self.tok_encode(prompt))
            longest = max(longest, min(tokens + room, self.max_length))
            if tokens + room > self.max_length:
                too_long.append(prompt)
            if too_long and not self.truncation:
                raise LengthError(
                    f"a prompt of {tokens} tokens leaves no room to generate {room} in "
                    f"max_length={self.max_length}: give max_length=…, or truncation=True to lose "
                    "its beginning"
                )
        self.cuts.lose(too_long, self.max_length)
        self.reach.expect("generate_until", longest)
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
