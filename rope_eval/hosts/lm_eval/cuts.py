"""Which samples of a task a model saw without their beginning: counted, as lm-eval does not."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

from lm_eval.api.instance import Instance

from rope_eval.errors import LengthError

log = logging.getLogger(__name__)

_Task = tuple[str, str]  # the kind of request, and the name


class Cuts:
    """Counts the samples of each task whose prompts were cut to a model's length.

    lm-eval takes tokens off the left of a prompt and keeps no account of it (its issues 3115 and
    3421), so that a task past a model's length has a score like any other.

    Args:
        strict: whether a cut is an error.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self._samples: dict[_Task, set[int | None]] = {}
        self._cut: dict[_Task, set[int | None]] = defaultdict(set)
        self._of: dict[Hashable, set[tuple[_Task, int | None]]] = {}
        self._said = False

    def ask(self, requests: Sequence[Instance]) -> None:
        """Take note of all requests of one kind before they are run; their tasks begin anew.

        Those without a task's name are parts of another request, and are not counted.
        """
        asked: dict[_Task, set[int | None]] = defaultdict(set)
        self._of = defaultdict(set)
        for request in requests:
            if request.task_name is not None:
                task = (request.request_type, request.task_name)
                asked[task].add(request.doc_id)
                self._of[prompt_of(request)].add((task, request.doc_id))
        self._samples |= asked
        for task in asked:
            self._cut.pop(task, None)

    def lose(self, prompts: Iterable[Hashable], max_length: int) -> None:
        """Count prompts that lose tokens, by what `prompt_of` says of their requests.

        Raises:
            LengthError: for any, strictly.
        """
        prompts = list(prompts)
        if not prompts:
            return
        if self.strict:
            raise LengthError(
                f"{len(prompts)} prompts are longer than max_length={max_length} allows, and would "
                "lose their beginning: give max_length=…, or leave out strict"
            )
        for prompt in prompts:
            for task, item in self._of.get(prompt, ()):
                self._cut[task].add(item)
        if not self._said:
            self._said = True
            log.warning(
                "rope-eval: prompts longer than max_length=%d allows lose their beginning: "
                "`config.cut_prompts` of the results says how many of each task, and so do tables",
                max_length,
            )

    def to_dict(self) -> Mapping[str, Mapping[str, int]]:
        """Return what is recorded: of each task that lost any, the samples cut and all of them."""
        found: dict[str, dict[str, int]] = {}
        for task, cut in self._cut.items():
            one = found.setdefault(task[1], {"cut": 0, "of": 0})
            one["cut"] += len(cut)
            one["of"] += len(self._samples[task])
        return found


def prompt_of(request: Instance) -> Hashable:
    """Return what tells a request's prompt from others where tokens are counted.

    A generation's is its text; of the others it is their arguments, as lm-eval hands them on.
    """
    args: tuple[Hashable, ...] = request.args
    return args[0] if request.request_type == "generate_until" else args
