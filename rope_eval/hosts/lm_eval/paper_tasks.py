"""lm-eval tasks for the columns of Tables 3 to 5 of arXiv 2310.05209, and L-Eval's own rules."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean

from rope_eval.errors import DataError, SpecError
from rope_eval.hosts.lm_eval.local_task import LocalTask
from rope_eval.hosts.lm_eval.metadata import check_names, text, whole
from rope_eval.protocols.datasets import check_folder
from rope_eval.protocols.documents import Doc
from rope_eval.protocols.rules import RULES, histogram, whole_prompt_choice
from rope_eval.protocols.tasks import Task
from rope_eval.protocols.truncation import SIDES

TRUNCATE_AT = 16384
log = logging.getLogger(__name__)


class PaperTask(LocalTask):
    """A column of Tables 3 to 5, or a part of one, by the rules of a protocol.

    Its YAML names the ``protocol`` and the ``entry`` in prompts.yaml, and for MMLU the
    ``subject``. From ``--metadata`` it takes ``data_dir``, a folder instead of the hub, and where
    prompts are long ``truncate_at`` (16384 tokens, the continuation included) and ``truncation``,
    the side that longer prompts lose: left, right or middle. A group says ``missing_data: skip``:
    then a task without its data is left without a score, and the other tasks still run.
    """

    VERSION = 1
    OWN = ("data_dir", "truncation", "truncate_at")

    def __init__(self, config: Mapping[str, Any]):
        given = dict(config.get("metadata", {}))
        self._name = config["task"]
        self._task = Task(
            protocol=config["protocol"], entry=config["entry"], subject=config.get("subject")
        )
        self._entry = self._task.strings
        self._prefix = ""
        check_names(self._name, "tasks of the protocols", given, self.OWN)
        self._truncation, self._truncate_at = _limits(given)
        if given.get("data_dir") is not None:
            check_folder(text("data_dir", given["data_dir"]))
        try:
            self._docs, record = self._load(given.get("data_dir"))
        except DataError as error:
            if config.get("missing_data") != "skip":
                raise
            log.warning("%s is left out: %s", self._name, error)
            self._docs, record = [{"missing": str(error)}], {"missing": str(error)}
        self.OUTPUT_TYPE = "whole_prompt_nll" if "choices" in self._entry else "generate_until"
        limits = {"truncation": self._truncation, "truncate_at": self._truncate_at}
        super().__init__(
            task=self._name,
            num_fewshot=self._entry.get("shots", 0),
            output_type=self.OUTPUT_TYPE,
            generation_kwargs=None if "choices" in self._entry else self._generation(),
            metadata={"version": self.VERSION}
            | self._task.record()
            | record
            | (limits if self._entry.get("long") else {}),
        )

    def _load(self, data_dir: str | None) -> tuple[list[Doc], dict[str, Any]]:
        """Return the questions, and what to record of where they come from."""
        asked = self._task.questions(data_dir)
        if shots := self._task.shots(data_dir):
            subject = str(self._task.subject).replace("_", " ")
            self._prefix = self._entry["hint"].format(subject=subject)
            self._prefix += "".join(self._entry["shot"].format(**shot) for shot in shots)
        return asked.docs, self._task.record_of_data(data_dir) | {"data_sha256": asked.sha256}

    def _generation(self) -> dict[str, Any]:
        return {"until": [], "max_gen_toks": self._entry["max_tokens"], "do_sample": False}

    # ---- documents -----------------------------------------------------------------------------

    def test_docs(self) -> list[Doc]:
        """Return the questions; for a task without its data, one that only says so."""
        return self._docs

    def doc_to_text(self, doc: Doc) -> str:
        """Return the prompt; of several whole prompts, the first."""
        if "missing" in doc:
            return ""
        return self._texts(doc)[0]

    def doc_to_target(self, doc: Doc) -> str:
        """Return the answer, or the first of several."""
        gold = doc.get("gold", "")
        return gold if isinstance(gold, str) else gold[0]

    def fewshot_context(self, doc: Doc, num_fewshot: int = 0, **kwargs: Any) -> str:
        """Return the prompt; a protocol fixes its examples, and has no chat template."""
        if num_fewshot != self._entry.get("shots", 0):
            raise SpecError(
                f"{self._name} has {self._entry.get('shots', 0)} examples by its protocol, got "
                f"num_fewshot={num_fewshot}: leave it out"
            )
        if kwargs.get("apply_chat_template") or kwargs.get("system_instruction"):
            raise SpecError(
                f"{self._name} has a plain prompt by its protocol: leave out apply_chat_template "
                "and system_instruction"
            )
        return self.doc_to_text(doc)

    def _texts(self, doc: Doc) -> list[str]:
        templates = self._entry.get("choices") or [self._entry["prompt"]]
        return [self._prefix + template.format(**doc) for template in templates]

    # ---- requests and scores -------------------------------------------------------------------

    def construct_requests(self, doc: Doc, ctx: str, **kwargs: Any) -> list[Instance]:
        """Ask for the score of each whole prompt, or for a continuation."""
        arguments: list[tuple[Any, ...]]
        if "missing" in doc:
            kind, arguments = "missing_data", [(doc["missing"],)]
        elif "choices" in self._entry:
            kind, arguments = "whole_prompt_nll", [(text,) for text in self._texts(doc)]
        elif self._entry.get("long"):
            limits = (self._truncate_at, self._truncation)
            kind, arguments = (
                "cut_generate_until",
                [(ctx, self.config.generation_kwargs, *limits)],
            )
        else:
            kind, arguments = "generate_until", [(ctx, self.config.generation_kwargs)]
        return [
            Instance(request_type=kind, doc=doc, arguments=some, idx=i, metadata=kwargs["metadata"])
            for i, some in enumerate(arguments)
        ]

    def process_results(self, doc: Doc, results: Sequence[Any]) -> dict[str, Any]:
        """Mark one question: ``acc``, and where predictions are letters ``predicted``."""
        if "missing" in doc:
            return {}
        if "choices" in self._entry:
            predicted = self._entry["labels"][whole_prompt_choice(results)]
            mark = float(predicted == doc["gold"])
        else:
            read, marked = RULES[self._entry["rule"]]
            predicted = read(results[0])
            mark = marked(predicted, doc["gold"])
        return {"acc": mark} | ({"predicted": predicted} if self._entry.get("letters") else {})

    def aggregation(self) -> dict[str, Callable[[Sequence[Any]], Any]]:
        """Return how each number comes from the questions' marks."""
        return {"acc": mean, "predicted": histogram}

    def higher_is_better(self) -> dict[str, bool]:
        """Return which way is up."""
        return {"acc": True}


def _limits(given: Mapping[str, Any]) -> tuple[str, int]:
    side, length = given.get("truncation", "left"), given.get("truncate_at", TRUNCATE_AT)
    if isinstance(side, bool):  # lm-eval adds the model's arguments, and `hf` has one of this name
        side = "left"
    if side not in SIDES:
        raise SpecError(f"truncation must be one of {', '.join(SIDES)}, got {side!r}")
    return side, whole("truncate_at", length)
