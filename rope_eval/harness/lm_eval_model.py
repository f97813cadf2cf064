"""`lm_eval --model scaling_rope`: lm-eval's own `hf` model under a RopeSpec."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from rope_eval import catalogue
from rope_eval.backends.attention import rotary_of, sequence_lengths
from rope_eval.backends.loading import check_checkpoint, encode
from rope_eval.backends.patch import patched
from rope_eval.backends.scorer import TokenScores, score_lengths, score_tokens
from rope_eval.errors import LengthError, SpecError, did_you_mean
from rope_eval.harness.lm_eval_plugin import register
from rope_eval.harness.paper_requests import WholePromptMixin
from rope_eval.rope.spec import FIELDS, RopeSpec

LoglikelihoodRequest = tuple[tuple[str, str], list[int], list[int]]
HF_ARGUMENTS = tuple(inspect.signature(HFLM.__init__).parameters)[1:-1]


class ScalingRopeLM(WholePromptMixin, HFLM):
    """lm-eval's `hf` model with every `RopeSpec` field as a model argument.

    Args:
        pretrained: a directory, a name on the hub, or a loaded model.
        config: a row of the catalogue, instead of `pretrained` and the RopeSpec fields; what is
            given beside it wins.
        backend: "hf" (or lm-eval's own "default" and "causal").
        chunk_size: tokens of a chunk when whole documents are scored.
        **arguments: RopeSpec's fields by their names, and every argument of lm-eval's `hf`.
    """

    def __init__(
        self,
        pretrained: Any = None,
        config: str | None = None,
        backend: str = "hf",
        chunk_size: int | None = None,
        **arguments: Any,
    ):
        if backend not in ("hf", "default", "causal"):
            raise SpecError(f"backend must be hf, got {backend!r}")
        rope = {name: arguments.pop(name) for name in FIELDS if name in arguments}
        if config is not None:
            row = catalogue.find(config)
            rope = row.rope.to_dict() | rope
            pretrained = pretrained or str(row.require_checkpoint())
        if pretrained is None:
            raise SpecError("scaling_rope needs a model: give pretrained=DIR or config=NAME")
        _refuse_misspelt(arguments)
        self.rope_spec = RopeSpec.from_dict(rope)
        self.chunk_size = chunk_size
        if isinstance(pretrained, str) and not arguments.get("gguf_file"):
            arguments.setdefault("use_safetensors", True)
            subfolder = arguments.get("subfolder")
            check_checkpoint(
                str(Path(pretrained, subfolder)) if subfolder else pretrained,
                trust_remote_code=bool(arguments.get("trust_remote_code")),
                allow_pickle=not arguments["use_safetensors"],
            )
        super().__init__(pretrained=pretrained, backend="causal", **arguments)
        self._patch = ExitStack()
        self._patch.enter_context(patched(self.model, self.rope_spec))

    def close(self) -> None:
        """Take the RoPE setting off the model again; only a model of your own outlives this."""
        self._patch.close()

    def get_model_info(self) -> dict[str, Any]:
        """Return what lm-eval records of a model, the RoPE setting included."""
        return super().get_model_info() | {
            "rope": self.rope_spec.to_dict(),
            "rope_fingerprint": self.rope_spec.fingerprint(),
        }

    # ---- whole documents -----------------------------------------------------------------------

    def token_loglikelihoods(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[dict[int, TokenScores] | None]:
        """Score whole documents, each once for all its requests.

        Args:
            requests: with the arguments ``(text, lengths)``.
            disable_tqdm: no progress bar.

        Returns:
            For each request the scores of its text's first L tokens for each length L, BOS
            included; None for a text shorter than the longest length.

        Raises:
            LengthError: where no text is long enough for any request.
        """
        asked = [request.args for request in requests]
        add_bos = self.add_bos_token is not False
        ids = {text: encode(self.tokenizer, text, add_bos=add_bos) for text in dict(asked)}
        fits = [len(ids[text]) >= max(lengths) for text, lengths in asked]
        if not any(fits):
            raise LengthError(
                f"no document has the {min(max(lengths) for _, lengths in asked)} tokens that were "
                f"asked for; the longest has {max(map(len, ids.values()))}: ask for shorter "
                "lengths, as in --metadata lengths=[…]"
            )
        wanted: dict[str, set[int]] = defaultdict(set)
        for (text, lengths), fit in zip(asked, fits, strict=True):
            if fit:
                wanted[text] |= set(lengths)
        scored: dict[str, dict[int, TokenScores]] = {}
        quiet = disable_tqdm or self.rank != 0
        with tqdm(total=sum(map(max, wanted.values())), unit="token", disable=quiet) as bar:
            for text, lengths in wanted.items():
                before, longest = bar.n, max(lengths)

                def report(part: float, before: float = before, longest: int = longest) -> None:
                    bar.update(int(before + part * longest - bar.n))

                with self._autocast():
                    scored[text] = score_lengths(
                        self.model,
                        ids[text],
                        sorted(lengths),
                        chunk_size=self.chunk_size,
                        progress=report,
                    )
        return [
            {n: scored[text][n] for n in lengths} if fit else None
            for (text, lengths), fit in zip(asked, fits, strict=True)
        ]

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Score texts in windows of `max_length`, as lm-eval's `hf` cuts them, by our scorer."""
        totals = []
        for (text,) in tqdm(
            [request.args for request in requests], disable=disable_tqdm or self.rank != 0
        ):
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(text),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            total = 0.0
            for context, continuation in map(make_disjoint_window, windows):
                ids = torch.tensor(context + continuation)
                with self._autocast():
                    scores = score_tokens(self.model, ids, chunk_size=self.chunk_size)
                total -= float(scores.nll[len(context) - 1 :].sum(dtype="float64"))
            totals.append(total)
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
        return totals

    def _autocast(self) -> torch.autocast:
        """Compute in `mixed_precision_dtype` where it is asked for, as `hf` does."""
        dtype = self.mixed_precision_dtype
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    # ---- "per_sequence" dynamic NTK: requests that share a base go together ---------------------

    def _whole_alpha(self, length: int) -> float:
        per_sequence = self.rope_spec.dynamic_ntk == "per_sequence"
        return rotary_of(self.model).alpha(length) if per_sequence else 1.0

    def _loglikelihood_tokens(
        self,
        requests: list[LoglikelihoodRequest],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        by_alpha: dict[float, list[int]] = defaultdict(list)
        for i, (_, context, continuation) in enumerate(requests):
            length = len(context) + len(continuation)
            if length > self.max_length + 1 and not self.truncation:
                raise LengthError(
                    f"a request of {length} tokens is longer than max_length={self.max_length}: "
                    "give max_length=…, or truncation=True to lose its beginning"
                )
            by_alpha[self._whole_alpha(min(length, self.max_length + 1))].append(i)
        if len(by_alpha) < 2 and self.rope_spec.dynamic_ntk != "per_sequence":
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        answers: dict[int, tuple[float, bool]] = {}
        for same_base in by_alpha.values():
            _, context, continuation = requests[same_base[0]]
            length = min(len(context) + len(continuation), self.max_length + 1)
            with sequence_lengths(self.model, torch.tensor([length], device=self.device)):
                some = super()._loglikelihood_tokens(
                    [requests[i] for i in same_base], disable_tqdm, override_bs
                )
            answers.update(zip(same_base, some, strict=True))
        return [answers[i] for i in range(len(requests))]

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode and pad, and refuse to lose the beginning of a prompt unless truncation=True."""
        if left_truncate_len and not self.truncation:
            ids, _ = super().tok_batch_encode(strings, padding_side)
            if ids.shape[1] > left_truncate_len:
                raise LengthError(
                    f"a prompt of {ids.shape[1]} tokens leaves no room to generate in "
                    f"max_length={self.max_length} (prompts may have {left_truncate_len}): "
                    "give max_length=…, or truncation=True to lose its beginning"
                )
        return super().tok_batch_encode(strings, padding_side, left_truncate_len, truncation)

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **kwargs: Any
    ) -> torch.Tensor:
        prompts = kwargs["attention_mask"].sum(-1)
        with sequence_lengths(self.model, prompts + max_length - context.shape[1]):
            return super()._model_generate(context, max_length, stop, **kwargs)


def _refuse_misspelt(arguments: dict[str, Any]) -> None:
    """Refuse an argument that neither we nor `hf` have by name, and that looks like a field."""
    for name in arguments:
        if name not in HF_ARGUMENTS and (hint := did_you_mean(name, FIELDS)):
            raise SpecError(
                f"scaling_rope has no argument {name!r}.{hint} "
                f"The RoPE fields are: {', '.join(FIELDS)}"
            )


register()
