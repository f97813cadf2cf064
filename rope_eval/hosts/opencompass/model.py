"""`ScalingRope`: a Hugging Face model under a RopeSpec, as OpenCompass 0.5 asks for one."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from opencompass.models.base import BaseModel
from torch import Tensor

from rope_eval.backends.hf.attention import rotary_of, sequence_lengths
from rope_eval.backends.hf.compat import input_device
from rope_eval.backends.hf.encoding import first_tokens
from rope_eval.backends.hf.loading import load_model, load_tokenizer
from rope_eval.backends.hf.patch import patched
from rope_eval.backends.hf.proof import is_wanted, proof_of
from rope_eval.errors import LengthError, SpecError
from rope_eval.protocols.truncation import SIDES, cut
from rope_eval.rope.reach import Reach
from rope_eval.scores import TokenScores
from rope_eval.scoring.texts import Ids, token_nll, whole_nll
from rope_eval.scoring.tokens import check_chunk_size, score_lengths
from rope_eval.setting import Caller, resolve

DTYPES = ("auto", "float32", "bfloat16", "float16")


class ScalingRope(BaseModel):
    """A model of OpenCompass with every `RopeSpec` field as an argument.

    Args:
        path: a directory, a GGUF file, or a name on the hub.
        config: a row of the catalogue, instead of `path` and the RopeSpec fields; what is given
            beside it wins.
        backend: "hf".
        max_seq_len: tokens of a prompt and its continuation.
        truncation: the side that a longer prompt loses: "left", "right" or "middle". None refuses
            longer prompts.
        dtype: "auto", "float32", "bfloat16" or "float16".
        device: as in PyTorch; None is CUDA where there is one.
        chunk_size: tokens of a chunk when whole documents are scored.
        proof: "off" leaves out the proof of the setting on the weights.
        strict: refuse a field that changes nothing in texts as long as `max_seq_len`; without it,
            and of shorter texts, a line says so in the end.
        trust_remote_code: run Python code that comes with the checkpoint.
        allow_pickle: load weights that are not safetensors.
        tokenizer_only: load no weights.
        meta_template: OpenCompass's, by default none: parts of a dialogue are joined by newlines.
        generation_kwargs: arguments of transformers' `generate`; by default it is greedy.
        **rope: RopeSpec's fields by their names.

    Raises:
        SpecError: for a setting that makes no sense.
        DataError: for a model that cannot be loaded, or a row without a checkpoint.
        UnsupportedModelError: for a model the mechanism does not fit.
    """

    def __init__(
        self,
        path: str | None = None,
        config: str | None = None,
        backend: str = "hf",
        max_seq_len: int = 16384,
        truncation: str | None = None,
        dtype: str = "auto",
        device: str | None = None,
        chunk_size: int | None = None,
        proof: bool | str = True,
        strict: bool = False,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
        tokenizer_only: bool = False,
        meta_template: dict[str, Any] | None = None,
        generation_kwargs: dict[str, Any] | None = None,
        **rope: Any,
    ):
        if backend != "hf":
            raise SpecError(f"backend must be hf, got {backend!r}")
        is_wanted(proof)
        if truncation is not None and truncation not in SIDES:
            raise SpecError(f"truncation must be one of {', '.join(SIDES)}, got {truncation!r}")
        if isinstance(max_seq_len, bool) or not isinstance(max_seq_len, int) or max_seq_len < 2:
            raise SpecError(f"max_seq_len must be 2 or more tokens, got {max_seq_len!r}")
        check_chunk_size(chunk_size)
        if dtype not in DTYPES:
            raise SpecError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        for name, value in (
            ("trust_remote_code", trust_remote_code),
            ("allow_pickle", allow_pickle),
            ("tokenizer_only", tokenizer_only),
            ("strict", strict),
        ):
            if not isinstance(value, bool):
                raise SpecError(f"{name} must be True or False, got {value!r}")
        if not isinstance(generation_kwargs or {}, dict):
            raise SpecError(f"generation_kwargs must be a dict, got {generation_kwargs!r}")
        setting = resolve(path, config, rope, caller=CALLER)
        path, self.rope_spec = setting.checkpoint, setting.rope
        super().__init__(
            path=path,
            max_seq_len=max_seq_len,
            tokenizer_only=tokenizer_only,
            meta_template=meta_template,
            generation_kwargs=generation_kwargs or {},
        )
        self.truncation = truncation
        self.chunk_size = chunk_size
        self.tokenizer = load_tokenizer(path, trust_remote_code=trust_remote_code)
        self.proof: dict[str, Any] | str | None = None
        self._patch: patched | None = None
        if not tokenizer_only:
            self.model = load_model(
                path,
                dtype=dtype,
                device=device,
                trust_remote_code=trust_remote_code,
                allow_pickle=allow_pickle,
            )
            self.proof = proof_of(self.model, self.rope_spec, proof)
            self._patch = patched(self.model, self.rope_spec)
            self._patch.__enter__()
            weakref.finalize(self, self._patch.close)  # also when the interpreter ends
            self.reach = Reach(
                rotary_of(self.model).effective_from, strict=strict, stated=setting.stated
            )
            weakref.finalize(self, self.reach.say)

    def close(self) -> None:
        """Take the RoPE setting off the model again."""
        if self._patch is not None:
            self._patch.close()

    # ---- tokens --------------------------------------------------------------------------------

    def encode(self, prompt: str) -> Tensor:
        """Return a prompt's tokens as the tokenizer begins them: int64 ``[T]``."""
        return torch.tensor(self._ids(prompt), dtype=torch.int64)

    def decode(self, tokens: Tensor) -> str:
        """Return the text of tokens, special ones left out."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def get_token_len(self, prompt: str) -> int:
        """Return the number of a prompt's tokens, special ones included."""
        return len(self._ids(prompt))

    def _ids(self, prompt: str) -> list[int]:
        bos = self.tokenizer.bos_token
        special = not (bos and prompt.startswith(bos))
        ids: list[int] = self.tokenizer(prompt, add_special_tokens=special, verbose=False)[
            "input_ids"
        ]
        return ids

    def _scored(self, text: str) -> Ids:
        """Return a text's tokens, BOS first (of a tokenizer without one, EOS)."""
        first = self.tokenizer.bos_token_id
        if first is None:
            first = self.tokenizer.eos_token_id
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return tuple(ids) if ids[:1] == [first] else (first, *ids)

    def _fitting(self, text: str, room: int) -> str:
        """Return a text of `room` tokens at most, cut where it is longer and that is allowed."""
        tokens = len(self._scored(text))
        if tokens <= room:
            return text
        if self.truncation is None:
            raise LengthError(
                f"a prompt of {tokens} tokens is longer than the {room} that max_seq_len="
                f"{self.max_seq_len} leaves for it: raise max_seq_len, or say which side it may "
                "lose with truncation='left', 'right' or 'middle'"
            )
        return cut(
            self.tokenizer,
            text,
            room,
            self.truncation,
            lambda t: len(self._scored(t)),
            option="max_seq_len",
        )

    # ---- scores --------------------------------------------------------------------------------

    def get_ppl(
        self, inputs: list[str], mask_length: list[int] | None = None
    ) -> npt.NDArray[np.float64]:
        """Return OpenCompass's "ppl": the mean NLL of each text in nats, not its exponential.

        It is the sum of NLL over all tokens but BOS ÷ the number of tokens with BOS; with
        `mask_length` the sum over tokens from that index on ÷ their number.

        Args:
            inputs: texts.
            mask_length: for each how many of its first tokens (BOS included) do not count.

        Returns:
            float64, one value a text.

        Raises:
            LengthError: for a text longer than `max_seq_len` that may not be cut.
            ScoreError: for a score that is not a number.
        """
        if mask_length is None:
            texts = [self._scored(self._fitting(text, self.max_seq_len)) for text in inputs]
            self._see("get_ppl", texts)
            pairs = zip(whole_nll(self.model, texts), texts, strict=True)
            return np.array([total / len(text) for total, text in pairs])
        texts = [self._uncut(text) for text in inputs]
        self._see("get_ppl", texts)
        for text, skipped in zip(texts, mask_length, strict=True):
            if not 0 <= skipped < len(text):
                raise LengthError(f"mask_length={skipped} leaves nothing of {len(text)} tokens")
        return np.array(
            [
                float(nll[max(0, skipped - 1) :].sum()) / (len(nll) + 1 - skipped)
                for nll, skipped in zip(token_nll(self.model, texts), mask_length, strict=True)
            ]
        )

    def get_loglikelihood(self, inputs: list[str], conts: list[str]) -> npt.NDArray[np.float64]:
        """Return ln p of the continuation that each text ends with, given what comes before it.

        Args:
            inputs: whole texts.
            conts: the end of each that is scored.

        Returns:
            The sum over the continuation's tokens in nats: float64, one value a text.

        Raises:
            SpecError: for a text that does not end with its continuation.
            LengthError: for a text longer than `max_seq_len`: one cut has another continuation.
            ScoreError: for a score that is not a number.
        """
        for text, cont in zip(inputs, conts, strict=True):
            if not cont or not text.endswith(cont):
                raise SpecError(f"the text {text[-80:]!r} does not end with {cont!r}")
        texts = [self._uncut(text) for text in inputs]
        self._see("get_loglikelihood", texts)
        before = [
            len(self._scored(text[: -len(cont)])) for text, cont in zip(inputs, conts, strict=True)
        ]
        pairs = zip(token_nll(self.model, texts), before, strict=True)
        return np.array([-float(nll[start - 1 :].sum()) for nll, start in pairs])

    def score_document(self, text: str, lengths: Sequence[int]) -> dict[int, TokenScores] | None:
        """Return the scores of a document's first L tokens, BOS included, for each length L.

        None for a document that is shorter than the longest length. See `score_lengths`.
        """
        ids = first_tokens(self.tokenizer, text, max(lengths))
        if len(ids) < max(lengths):
            return None
        self.reach.expect("score_document", max(lengths))
        return score_lengths(self.model, ids, lengths, chunk_size=self.chunk_size)

    def _see(self, kind: str, texts: Sequence[Sequence[int]], more: int = 0) -> None:
        """Take note of the longest text; strictly, refuse what none of this run could reach."""
        line = self.reach.without_effect(self.max_seq_len, "max_seq_len")
        if line and self.reach.strict:
            raise SpecError(f"{line}. Leave it out, or strict")
        self.reach.see(kind, max(map(len, texts)) + more)

    def _uncut(self, text: str) -> Ids:
        ids = self._scored(text)
        if len(ids) > self.max_seq_len:
            raise LengthError(
                f"a text of {len(ids)} tokens is longer than max_seq_len={self.max_seq_len}, and a "
                "part of a text cannot be scored in one that is cut: raise max_seq_len"
            )
        return ids

    # ---- generation ----------------------------------------------------------------------------

    def generate(
        self,
        inputs: list[str],
        max_out_len: int,
        min_out_len: int | None = None,
        stopping_criteria: Sequence[str] = (),
    ) -> list[str]:
        """Continue prompts, all in one batch.

        Args:
            inputs: prompts; one that leaves less than `max_out_len` of `max_seq_len` is cut.
            max_out_len: the most tokens of a continuation.
            min_out_len: the fewest.
            stopping_criteria: texts that end a continuation, and are left out of it.

        Returns:
            The continuations.

        Raises:
            LengthError: for a prompt that is too long and may not be cut.
        """
        room = self.max_seq_len - max_out_len
        rows = [self._ids(self._fitting(text, room)) for text in inputs]
        self._see("generate", rows, more=max_out_len)
        lengths = torch.tensor([len(row) for row in rows])
        width = int(lengths.max())
        pad = self.tokenizer.pad_token_id
        pad = self.tokenizer.eos_token_id if pad is None else pad
        pad = 0 if pad is None else pad
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
        padding = torch.arange(width) >= width - lengths[:, None]
        stops = list(stopping_criteria)
        arguments = {
            "max_new_tokens": max_out_len,
            "min_new_tokens": min_out_len,
            "do_sample": False,
            "pad_token_id": pad,
            "use_cache": True,
        } | self.generation_kwargs
        if stops:
            arguments |= {"stop_strings": stops, "tokenizer": self.tokenizer}
        device = input_device(self.model)
        with torch.inference_mode(), sequence_lengths(self.model, lengths + max_out_len):
            out = self.model.generate(
                input_ids=ids.to(device), attention_mask=padding.long().to(device), **arguments
            )
        texts = [self.decode(row) for row in out[:, width:]]
        for stop in stops:
            texts = [text.split(stop)[0] for text in texts]
        return texts


NOT_IN_KEY: Mapping[str, str] = MappingProxyType(
    {
        "path": "its content is, as the model's fingerprint",
        "backend": "it is a part of every request",
        "proof": "what is shown of the weights before the work; the provenance says it",
        "strict": "refuses a run, and changes none",
        "allow_pickle": "safetensors win, and all weights are in the fingerprint",
        "tokenizer_only": "no weights are loaded, so that nothing is scored",
        "abbr": "a name, made of the others",
        "run_cfg": "how OpenCompass starts its processes",
    }
)
"""Arguments of a model that are not in the key of its runs, and why; every other one is."""

CALLER = Caller(
    name="ScalingRope",
    model="path=DIR",
    row="config=NAME",
    arguments=tuple(inspect.signature(ScalingRope.__init__).parameters)[1:-1],
)
