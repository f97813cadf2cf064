"""What our lm-eval tasks have in common: their documents are read before lm-eval asks for them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from lm_eval.config.task import TaskConfig

from rope_eval.errors import SpecError


class LocalTask(Task):
    """A task with test documents alone, and nothing for lm-eval to download.

    Args:
        fields: of lm-eval's `TaskConfig`, which its results file shows.
    """

    def __init__(self, **fields: Any):
        with _unheard("lm_eval.config.task"):  # that the base class's empty config is empty
            super().__init__()
        self._config = TaskConfig(**fields)

    def download(self, *_: Any, **__: Any) -> None:
        """Download nothing: the documents have been read."""

    def requests(
        self, doc: Mapping[str, Any], asked: Iterable[tuple[Any, ...]], metadata: Any
    ) -> list[Instance]:
        """Return a request of the task's type for each of what is asked of a document.

        Args:
            doc: the document.
            asked: the arguments of each.
            metadata: lm-eval's, of the document and its repeats.
        """
        return [
            Instance(
                request_type=self.OUTPUT_TYPE,
                doc=dict(doc),
                arguments=one,
                idx=i,
                metadata=metadata,
            )
            for i, one in enumerate(asked)
        ]

    def has_training_docs(self) -> bool:  # noqa: D102
        return False

    def has_validation_docs(self) -> bool:  # noqa: D102
        return False

    def has_test_docs(self) -> bool:  # noqa: D102
        return True


def needed(metadata: Mapping[str, Any], name: str, task: Any) -> Any:
    """Return a value of a task's metadata; one that is not there is a `SpecError`."""
    if metadata.get(name) is None:
        raise SpecError(f"{task} needs {name} in its metadata: give it as --metadata {name}=…")
    return metadata[name]


def at_depth(length: int, depth: float) -> str:
    """Return the name of the accuracy at a length and depth.

    >>> at_depth(512, 0.25), at_depth(512, 1.0)
    ('accuracy_depth_0.25@512', 'accuracy_depth_1@512')
    """
    text = f"{depth:.6f}".rstrip("0").rstrip(".")
    return f"accuracy_depth_{text}@{length}"


@contextmanager
def _unheard(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False
