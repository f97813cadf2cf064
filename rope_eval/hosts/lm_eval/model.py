"""`lm_eval --model scaling_rope`: lm-eval's own `hf` model under a RopeSpec."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from typing import Any, Self

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM

from rope_eval.backends.hf.attention import rotaries_of, rotary_of, sequence_lengths
from rope_eval.backends.hf.loading import WholeCausalLM, readable
from rope_eval.backends.hf.patch import patched
from rope_eval.backends.hf.proof import is_wanted, proof_of
from rope_eval.errors import LengthError, SpecError
from rope_eval.hosts.lm_eval.arguments import (
    check_device,
    check_values,
    check_weights,
    refuse_hub_kernels,
    take_gguf,
    take_setting,
)
from rope_eval.hosts.lm_eval.cuts import Cuts
from rope_eval.hosts.lm_eval.documents import (
    DocumentsMixin,
    LoglikelihoodRequest,
    check_fits,
    check_rolling_bos,
)
from rope_eval.hosts.lm_eval.kept_answers import asked, weights_digest
from rope_eval.hosts.lm_eval.kept_data import keep_data
from rope_eval.hosts.lm_eval.paper_requests import SharedPromptsMixin
from rope_eval.hosts.lm_eval.plugin import register
from rope_eval.rope.reach import Reach
from rope_eval.scores import TokenScores
from rope_eval.scoring.by_base import by_base
from rope_eval.scoring.logits import check_vocabulary
from rope_eval.scoring.tokens import score_lengths, score_tokens

HF_ARGUMENTS = tuple(inspect.signature(HFLM.__init__).parameters)[1:-1]


class ScalingRopeLM(SharedPromptsMixin, DocumentsMixin, HFLM):
    """lm-eval's `hf` model with every `RopeSpec` field as a model argument.

    Several around one loaded model score under their own settings each. The model is given back as
    it was when the last of them is closed, collected or left as a context manager.

    Args:
        pretrained: a directory, a GGUF file, a name on the hub, or a loaded model.
        config: a row of the catalogue, instead of `pretrained` and the RopeSpec fields; what is
            given beside it wins.
        backend: "hf" (or lm-eval's own "default" and "causal"), or "vllm" for `ScalingRopeVLLM`.
        chunk_size: tokens of a chunk when whole documents are scored.
        proof: "off" leaves out the proof of the setting on the weights (`rope_eval.backends.hf`).
        strict: refuse a field that changes nothing in requests as long as these, and a prompt that
            truncation=True would cut; without it a line says so, and the results count them.
        rolling_bos: "hf" begins rolling perplexity as lm-eval's `hf` does, with BOS twice where the
            tokenizer begins a text with it (lm-eval issue 3333); "one" with one BOS.
        **arguments: RopeSpec's fields by their names, and every argument of lm-eval's `hf`.
    """

    def __new__(cls, *args: Any, backend: str = "hf", **arguments: Any) -> Any:
        """Make the model of a backend: `ScalingRopeVLLM` for vllm."""
        if backend != "vllm":
            return super().__new__(cls)
        from rope_eval.backends.vllm.engine import require_vllm

        require_vllm()
        from rope_eval.hosts.lm_eval.vllm import ScalingRopeVLLM

        return ScalingRopeVLLM(*args, **arguments)

    def __init__(
        self,
        pretrained: Any = None,
        config: str | None = None,
        backend: str = "hf",
        chunk_size: int | None = None,
        proof: bool | str = True,
        strict: bool = False,
        rolling_bos: str = "hf",
        **arguments: Any,
    ):
        if backend not in ("hf", "default", "causal"):
            raise SpecError(f"backend must be hf or vllm, got {backend!r}")
        is_wanted(proof)
        self.rolling_bos = check_rolling_bos(rolling_bos)
        own = {"chunk_size": chunk_size, "strict": strict}
        check_values({**own, **arguments}, HFLM.__init__, ScalingRopeLM.__init__)
        setting, arguments = take_setting(pretrained, config, arguments, HF_ARGUMENTS)
        pretrained, self.rope_spec = setting.checkpoint, setting.rope
        self.chunk_size = chunk_size
        self._asked = asked(arguments)
        if isinstance(pretrained, str):
            pretrained, arguments = take_gguf(pretrained, arguments)
            arguments.setdefault("use_safetensors", True)
            check_weights(pretrained, arguments, allow_pickle=not arguments["use_safetensors"])
        name = pretrained if isinstance(pretrained, str) else type(pretrained).__name__
        with readable(f"the model {name}"):
            super().__init__(pretrained=pretrained, backend="causal", **arguments)
        check_device(arguments.get("device"), self.device)
        self.proof = proof_of(self.model, self.rope_spec, proof)
        self._patch = patched(self.model, self.rope_spec)
        self._patch.__enter__()
        self._rotary = rotary_of(self.model)
        self.reach = Reach(self._rotary.effective_from, strict=strict, stated=setting.stated)
        self.cuts = Cuts(strict=strict)
        weakref.finalize(self, self._patch.close)  # also when the interpreter ends

    def close(self) -> None:
        """Take the RoPE setting off the model again; only a model of your own outlives this."""
        self._patch.close()

    def __enter__(self) -> Self:
        """Return the model, to be closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    # ---- loading -------------------------------------------------------------------------------

    def _get_config(self, pretrained: str, **arguments: Any) -> None:
        with readable(f"the config of {pretrained}"):
            super()._get_config(pretrained, **arguments)
        refuse_hub_kernels({"attn_implementation": self._config._attn_implementation})

    def _create_model(self, pretrained: str, **arguments: Any) -> None:
        """Load the model as lm-eval does, and refuse weights that are not whole."""
        self.AUTO_MODEL_CLASS: Any = WholeCausalLM
        with readable(f"the model {pretrained}"):
            super()._create_model(pretrained, **arguments)
        self.AUTO_MODEL_CLASS = AutoModelForCausalLM

    def _create_tokenizer(self, pretrained: Any, *rest: Any, **arguments: Any) -> None:
        with readable(f"the tokenizer of {pretrained}"):
            super()._create_tokenizer(pretrained, *rest, **arguments)

    def _dtype(self) -> str:
        return str(self.model.dtype).removeprefix("torch.")

    def _identity(self) -> dict[str, Any]:
        return {
            "weights": weights_digest(self.model),
            "chunk_size": self.chunk_size,
            "device": self.device.type,
            "attention": self.model.config._attn_implementation,
            "asked": self._asked,
        }

    # ---- whole documents -----------------------------------------------------------------------

    def _score_lengths(
        self, ids: torch.Tensor, lengths: Sequence[int], progress: Callable[[float], None]
    ) -> dict[int, TokenScores]:
        with self._autocast():
            return score_lengths(
                self.model, ids, lengths, chunk_size=self.chunk_size, progress=progress
            )

    def _score_windows(self, windows: Iterable[list[int]]) -> Iterator[TokenScores]:
        for tokens in windows:
            with self._autocast():
                yield score_tokens(self.model, torch.tensor(tokens), chunk_size=self.chunk_size)

    def _autocast(self) -> torch.autocast:
        """Compute in `mixed_precision_dtype` where it is asked for, as `hf` does."""
        dtype = self.mixed_precision_dtype
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    # ---- requests ------------------------------------------------------------------------------

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Score continuations, and count the prompts that are cut."""
        self.cuts.ask(requests)
        answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm)
        return answers

    def _loglikelihood_tokens(
        self,
        requests: list[LoglikelihoodRequest],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        check_fits(requests, self.max_length, truncation=bool(self.truncation))
        lengths = [len(context) + len(continuation) for _, context, continuation in requests]
        check_vocabulary(self.model, max((max(c + k) for _, c, k in requests), default=0))
        longest = self.max_length + 1
        too_long = [one[0] for one, n in zip(requests, lengths, strict=True) if n > longest]
        self.cuts.lose(too_long, self.max_length)
        self.reach.expect("loglikelihood", min(max(lengths, default=0), longest))
        rotaries = rotaries_of(self.model)
        if all(rotary.base_changes != "per_sequence" for rotary in rotaries):
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        answers: dict[int, tuple[float, bool]] = {}
        shortened = [min(length, longest) for length in lengths]
        for same_base in by_base(rotaries, range(len(requests)), shortened.__getitem__):
            length = min(lengths[same_base[0]], longest)
            with sequence_lengths(self.model, torch.tensor([length], device=self.device)):
                some = super()._loglikelihood_tokens(
                    [requests[i] for i in same_base], disable_tqdm, override_bs
                )
            answers.update(zip(same_base, some, strict=True))
        return [answers[i] for i in range(len(requests))]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continue prompts, and count those that are cut."""
        self.cuts.ask(requests)
        answers: list[str] = super().generate_until(requests, disable_tqdm)
        self.reach.check("generate_until")
        return answers

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode and pad, and refuse to lose the beginning of a prompt unless truncation=True."""
        if not left_truncate_len:
            return super().tok_batch_encode(strings, padding_side, left_truncate_len, truncation)
        ids, whole = super().tok_batch_encode(strings, padding_side)
        if not self.truncation:
            if ids.shape[1] > left_truncate_len:
                raise LengthError(
                    f"a prompt of {ids.shape[1]} tokens leaves no room to generate in "
                    f"max_length={self.max_length} (prompts may have {left_truncate_len}): "
                    "give max_length=…, or truncation=True to lose its beginning"
                )
            return ids, whole
        ids, kept = super().tok_batch_encode(strings, padding_side, left_truncate_len, truncation)
        lost = (kept.sum(-1) < whole.sum(-1)).tolist()
        self.cuts.lose(
            (text for text, cut in zip(strings, lost, strict=True) if cut), self.max_length
        )
        return ids, kept

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **kwargs: Any
    ) -> torch.Tensor:
        self.reach.see("generate_until", max_length)
        prompts = kwargs["attention_mask"].sum(-1)
        with sequence_lengths(self.model, prompts + max_length - context.shape[1]):
            return super()._model_generate(context, max_length, stop, **kwargs)


def _under_its_setting(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def answer(self: ScalingRopeLM, *args: Any, **options: Any) -> Any:
        with self._patch.in_front():
            return method(self, *args, **options)

    return answer


for _request in (
    "loglikelihood",
    "loglikelihood_rolling",
    "generate_until",
    "token_loglikelihoods",
    "whole_prompt_nll",
):
    setattr(ScalingRopeLM, _request, _under_its_setting(getattr(ScalingRopeLM, _request)))


register()
keep_data()
