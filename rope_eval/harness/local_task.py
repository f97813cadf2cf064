"""What our lm-eval tasks have in common: their documents are read before lm-eval asks for them."""

from __future__ import annotations

from typing import Any

from lm_eval.api.task import Task


class LocalTask(Task):
    """A task with test documents alone, and nothing for lm-eval to download."""

    def download(self, *_: Any, **__: Any) -> None:
        """Download nothing: the documents have been read."""

    def has_training_docs(self) -> bool:  # noqa: D102
        return False

    def has_validation_docs(self) -> bool:  # noqa: D102
        return False

    def has_test_docs(self) -> bool:  # noqa: D102
        return True
