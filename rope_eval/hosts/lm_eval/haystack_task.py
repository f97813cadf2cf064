"""lm-eval tasks whose prompts are made for a length, with the model's own tokenizer."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.model import LM

from rope_eval.errors import LengthError, SpecError, UnsupportedModelError
from rope_eval.hosts.lm_eval.local_task import LocalTask, at_depth
from rope_eval.hosts.lm_eval.metadata import check_names, numbers, whole
from rope_eval.protocols.truncation import spans_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """What a model's tokenizer makes of a text.

    Attributes:
        count: how many tokens a text has, BOS included.
        spans: of each token but BOS, where it begins and ends in the text; kept for the next time.
    """

    count: Callable[[str], int]
    spans: Callable[[str], Sequence[tuple[int, int]]]


class Prompts(Protocol):
    """What makes a prompt of a document."""

    def prompt(self, tokens: Tokens, doc: Mapping[str, Any], *, length: int, depth: float) -> str:
        """Return the prompt of a length, with what is asked for at a depth."""


class HaystackTask(LocalTask):
    """Whether the answer is in what a model generates, at every length and depth.

    Its YAML gives the defaults in ``metadata``; `LENGTHS` there are tokens, and ``depths`` parts of
    a text. A subclass has the documents, and the `Prompts` that makes prompts of them.
    """

    VERSION = 1
    OUTPUT_TYPE = "haystack_prompt"
    LENGTHS = "lengths"
    OWN: tuple[str, ...] = ()

    def __init__(self, config: Mapping[str, Any]):
        given = dict(config["metadata"])
        check_names(config["task"], f"{config['task']} tasks", given, self.OWN)
        self._lengths = [whole(self.LENGTHS, n) for n in numbers(self.LENGTHS, given[self.LENGTHS])]
        self._depths = numbers("depths", given["depths"])
        if not all(0 <= depth <= 1 for depth in self._depths):
            raise SpecError(f"depths must be parts of a text, 0 to 1, got {self._depths}")
        self._docs, self._prompts, found = self.read(given)
        super().__init__(
            task=config["task"],
            description=config["description"],
            num_fewshot=0,
            output_type=self.OUTPUT_TYPE,
            metadata=given | found,
        )
        limit = whole("max_gen_toks", given["max_gen_toks"])
        self._config.generation_kwargs = {
            "until": [],
            "max_gen_toks": limit,
            "do_sample": False,
        }

    @abstractmethod
    def read(
        self, given: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], Prompts, dict[str, Any]]:
        """Return the documents, what makes prompts of them, and what to record of the data.

        A document has ``question`` and ``golds``.

        Args:
            given: the metadata.
        """

    def test_docs(self) -> list[dict[str, Any]]:
        """Return the documents."""
        return self._docs

    def doc_to_text(self, doc: Mapping[str, Any]) -> str:
        """Return the question alone: its context depends on the model's tokenizer."""
        return str(doc["question"])

    def doc_to_target(self, doc: Mapping[str, Any]) -> str:
        """Return the answer, or the first of several."""
        return str(doc["golds"][0])

    def fewshot_context(self, doc: Mapping[str, Any], *_: Any, **kwargs: Any) -> str:
        """Return the question; examples are the task's own."""
        if kwargs.get("system_instruction"):
            raise SpecError(
                f"{self.config.task} has no system prompt: leave out system_instruction"
            )
        return self.doc_to_text(doc)

    def construct_requests(self, doc: Mapping[str, Any], ctx: str, **kwargs: Any) -> list[Instance]:
        """Ask for a document's answer at each length and depth."""
        chat = bool(kwargs.get("apply_chat_template"))
        generation = self.config.generation_kwargs
        asked = (
            (ctx, self._prompts, length, depth, generation, chat)
            for length, depth in self._places()
        )
        return self.requests(doc, asked, kwargs["metadata"])

    def process_results(self, doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
        """Mark a document at each length, over its depths and at each."""
        marks = dict(
            zip(
                self._places(),
                (float(any(gold in text for gold in doc["golds"])) for text in results),
                strict=True,
            )
        )
        scores = {
            f"accuracy@{n}": mean([marks[n, depth] for depth in self._depths])
            for n in self._lengths
        }
        if len(self._depths) > 1:
            scores |= {at_depth(*place): mark for place, mark in marks.items()}
        return scores

    def aggregation(self) -> dict[str, Callable[[Sequence[float]], float]]:
        """Return how each number comes from the documents'."""
        names = [f"accuracy@{n}" for n in self._lengths]
        if len(self._depths) > 1:
            names += [at_depth(*place) for place in self._places()]
        return dict.fromkeys(names, mean)

    def higher_is_better(self) -> dict[str, bool]:
        """Return which way is up."""
        return dict.fromkeys(self.aggregation(), True)

    def _places(self) -> Iterator[tuple[int, float]]:
        return product(self._lengths, self._depths)


def haystack_prompt(self: LM, requests: Sequence[Instance]) -> list[str]:
    """Make the prompt of each request, and continue it greedily.

    Args:
        self: a model.
        requests: with the arguments ``(_, prompts, length, depth, gen_kwargs, chat)``; `chat` puts
            the prompt into the tokenizer's chat template.

    Returns:
        The continuations.

    Raises:
        UnsupportedModelError: for a model without a fast tokenizer in the process.
        LengthError: where the model's own length is below what a prompt needs, or one cannot be
            made.
    """
    name, tokenizer = requests[0].task_name, getattr(self, "tokenizer", None)
    if not getattr(tokenizer, "is_fast", False) or not hasattr(self, "tok_encode"):
        raise UnsupportedModelError(
            f"{name} counts tokens, and {type(self).__name__} has no fast tokenizer here: run it "
            "with --model scaling_rope, hf or vllm"
        )
    tokens = Tokens(
        count=lambda text: len(self.tok_encode(text)),
        spans=functools.cache(functools.partial(spans_of, tokenizer)),
    )
    prompts = []
    for request in requests:
        _, maker, length, depth, generation, chat = request.args
        prompt = maker.prompt(tokens, request.doc, length=length, depth=depth)
        if chat:
            prompt = self.apply_chat_template([{"role": "user", "content": prompt}])
        needed = tokens.count(prompt) + generation["max_gen_toks"]
        if needed > self.max_length:
            raise LengthError(
                f"{name}: a prompt and its continuation have {needed} tokens, and the model's "
                f"max_length is {self.max_length}: give --model_args max_length={needed}, or "
                "shorter lengths in --metadata"
            )
        prompts.append(
            Instance(
                request_type="generate_until", doc={}, arguments=(prompt, dict(generation)), idx=0
            )
        )
    return self.generate_until(prompts)


if not hasattr(LM, "haystack_prompt"):
    LM.haystack_prompt = haystack_prompt
