"""lm-eval tasks of retrieval: a needle stands early in a text, and is asked for at its end."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, ClassVar

from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.model import LM

from rope_eval.data.books import read_books
from rope_eval.data.probes import CHARACTERS_A_TOKEN, PASSKEY, Form, Probe, ProbePlan
from rope_eval.errors import LengthError, SpecError, UnsupportedModelError
from rope_eval.hosts.lm_eval.local_task import LocalTask, at_depth, needed
from rope_eval.hosts.lm_eval.metadata import check_names, text
from rope_eval.scores import Sums, total

Answer = tuple[str, float, bool, int]
"""What was generated; the true answer's NLL in nats; whether it was greedy; and its tokens."""
VARIETY = 4  # times the text that the longest probe needs, for samples to be of different places


class RetrievalTask(LocalTask):
    """Exact match and NLL of a needle at every length, over depths; exact match at each too.

    Its YAML gives the defaults in ``metadata``: ``lengths``, ``depths``, ``samples``, ``facts`` and
    ``probe_seed`` as in `ProbePlan`, and ``filler``, a source of `rope_eval.data.books`;
    ``--metadata lengths=[1024,2048]`` overrides them. An item is a sample, with all its lengths and
    depths.
    """

    VERSION = 1
    OUTPUT_TYPE = "retrieval_probe"
    OWN = ("lengths", "depths", "samples", "facts", "probe_seed", "filler")
    FORM: ClassVar[Form] = PASSKEY

    def __init__(self, config: Mapping[str, Any]):
        given = dict(config["metadata"])
        check_names(config["task"], "retrieval tasks", given, self.OWN)
        for name in self.OWN:
            if name != "filler":  # of which `filler` says whether it is needed
                needed(given, name, config["task"])
        empty = self._planned(given, "")  # a mistake is told before anything is read
        self._plan = self._planned(given, self.filler(given, max(empty.lengths)))
        given["filler_sha256"] = hashlib.sha256(self._plan.text.encode()).hexdigest()
        super().__init__(
            task=config["task"],
            description=config["description"],
            num_fewshot=0,
            output_type=self.OUTPUT_TYPE,
            metadata=given,
        )
        self._config.generation_kwargs = {"until": [], "do_sample": False}

    def _planned(self, given: Mapping[str, Any], text: str) -> ProbePlan:
        return ProbePlan(
            form=self.FORM,
            text=text,
            lengths=_as_tuple(given["lengths"]),
            depths=_as_tuple(given["depths"]),
            samples=given["samples"],
            seed=given["probe_seed"],  # lm-eval adds the model's arguments, and vllm has a seed
            facts=given["facts"],
        )

    def filler(self, metadata: Mapping[str, Any], longest: int) -> str:
        """Return the text that needles are put into: whole documents, and not more than needed."""
        parts: list[str] = []
        source = needed(metadata, "filler", "a retrieval task")
        for document in read_books(text("filler", source)):
            parts.append(document.text)
            if sum(map(len, parts)) >= VARIETY * CHARACTERS_A_TOKEN * longest:
                break
        return "\n\n".join(parts)

    def test_docs(self) -> list[dict[str, Any]]:
        """Return the samples: what is asked for, and the answer."""
        docs = []
        for sample in range(self._plan.samples):
            _, (key, value) = self._plan.facts_of(sample)
            docs.append({"sample": sample, "key": key, "value": value})
        return docs

    def doc_to_text(self, doc: Mapping[str, Any]) -> str:
        """Return the question alone: its context depends on the model's tokenizer."""
        return self._plan.form.question.format(key=doc["key"])

    def doc_to_target(self, doc: Mapping[str, Any]) -> str:
        """Return the value of the needle."""
        return str(doc["value"])

    def fewshot_context(self, doc: Mapping[str, Any], *_: Any, **kwargs: Any) -> str:
        """Return the question; a probe has no examples, and no chat template around it."""
        if kwargs.get("apply_chat_template") or kwargs.get("system_instruction"):
            raise SpecError(
                f"{self.config.task} has prompts of exact lengths: leave out apply_chat_template "
                "and system_instruction"
            )
        return self.doc_to_text(doc)

    def construct_requests(self, doc: Mapping[str, Any], ctx: str, **kwargs: Any) -> list[Instance]:
        """Ask for a sample's probe at each length and depth."""
        generation = self.config.generation_kwargs
        asked = (
            (ctx, self._plan, doc["sample"], length, depth, generation)
            for length, depth in self._places(doc)
        )
        return self.requests(doc, asked, kwargs["metadata"])

    def process_results(
        self, doc: Mapping[str, Any], results: Sequence[Answer]
    ) -> dict[str, float | Sums]:
        """Mark a sample at each length, over its depths and at each."""
        scores: dict[str, float | Sums] = {}
        places = list(self._places(doc))
        for length in self._plan.lengths:
            some = [result for (n, _), result in zip(places, results, strict=True) if n == length]
            scores |= marks(doc, length, some)
        if len(self._plan.depths) > 1:
            for place, answer in zip(places, results, strict=True):
                scores[at_depth(*place)] = is_right(doc, answer)
        return scores

    def aggregation(self) -> dict[str, Callable[[Sequence[Any]], float]]:
        """Return how each number comes from the samples'."""
        found = by_length(self._plan.lengths)
        if len(self._plan.depths) > 1:
            places = product(self._plan.lengths, self._plan.depths)
            found |= {at_depth(*place): mean for place in places}
        return found

    def higher_is_better(self) -> dict[str, bool]:
        """Return which way is up."""
        return {name: not name.startswith("nll") for name in self.aggregation()}

    def _places(self, doc: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
        """Return the lengths and depths at which a sample is asked for."""
        return product(self._plan.lengths, self._plan.depths)


def marks(doc: Mapping[str, Any], length: int, answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the scores of a sample's answers at a length: accuracy, greedy and nll.

    Args:
        doc: the sample.
        length: what they are written at.
        answers: of `retrieval_probe`.
    """
    return {
        f"accuracy@{length}": mean([is_right(doc, answer) for answer in answers]),
        f"greedy@{length}": mean([float(greedy) for *_, greedy, _ in answers]),
        f"nll@{length}": total([Sums(nll=nll, tokens=tokens) for _, nll, _, tokens in answers]),
    }


def is_right(doc: Mapping[str, Any], answer: Answer) -> float:
    """Return 1 where what was generated begins with the sample's value, else 0."""
    return float(first_word(answer[0]) == doc["value"])


def by_length(lengths: Sequence[int]) -> dict[str, Callable[[Sequence[Any]], float]]:
    """Return how the numbers of `marks` at each length come from the samples'."""
    kinds = {"accuracy": mean, "greedy": mean, "nll": _pooled_nll}
    return {f"{name}@{n}": how for name, how in kinds.items() for n in lengths}


def retrieval_probe(self: LM, requests: Sequence[Instance]) -> list[Answer]:
    """Continue the context of each probe greedily, and score its true answer.

    Args:
        self: a model.
        requests: with the arguments ``(_, plan, sample, length, depth, gen_kwargs)``.

    Returns:
        For each what was generated, as many tokens as the answer has; the answer's NLL in nats;
        whether each of its tokens was the most likely one; and how many tokens it has.

    Raises:
        UnsupportedModelError: for a model without its tokenizer in the process.
        LengthError: where the model's own length is below a probe's, or a probe cannot be built.
    """
    if getattr(self, "tokenizer", None) is None or not hasattr(self, "tok_encode"):
        raise UnsupportedModelError(
            f"{requests[0].task_name} counts tokens, and {type(self).__name__} has no tokenizer "
            "here: run it with --model scaling_rope, hf or vllm"
        )
    longest = max(request.args[3] for request in requests)
    if longest > self.max_length:
        raise LengthError(
            f"{requests[0].task_name}: a probe has {longest} tokens, and the model's max_length is "
            f"{self.max_length}: give --model_args max_length={longest}, or no more than "
            f"{self.max_length} in --metadata"
        )
    probes: list[Probe] = []
    for request in requests:
        _, plan, sample, length, depth, _ = request.args
        probes.append(plan.probe(self.tok_encode, sample=sample, length=length, depth=depth))
    answers = self.loglikelihood(
        [_request("loglikelihood", probe.context, probe.answer) for probe in probes]
    )
    texts = self.generate_until(
        [
            _request(
                "generate_until",
                probe.context,
                request.args[5] | {"max_gen_toks": probe.value_tokens},
            )
            for request, probe in zip(requests, probes, strict=True)
        ]
    )
    return [
        (text, -loglikelihood, greedy, probe.value_tokens)
        for text, (loglikelihood, greedy), probe in zip(texts, answers, probes, strict=True)
    ]


def first_word(text: str) -> str:
    """Return the first run of letters and digits, or an empty string.

    >>> first_word(" 1234567. So")
    '1234567'
    """
    found = re.search(r"\w+", text)
    return found[0] if found else ""


def _pooled_nll(sums: Sequence[Sums]) -> float:
    pooled = total(sums)
    return pooled.nll / pooled.tokens


def _as_tuple(values: Any) -> tuple[Any, ...]:
    return tuple(values) if isinstance(values, (list, tuple)) else (values,)


def _request(kind: Any, *arguments: Any) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


if not hasattr(LM, "retrieval_probe"):
    LM.retrieval_probe = retrieval_probe
