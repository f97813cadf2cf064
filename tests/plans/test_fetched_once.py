"""Of a store on another machine no document is fetched twice, whatever is asked of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from rope_eval.paths import asset
from rope_eval.plans.plan import Plan
from rope_eval.plans.survey import survey
from rope_eval.plans.worker import work
from rope_eval.results.documents import TokenLosses
from rope_eval.results.remote import RemoteFolder
from rope_eval.results.run_file import decode
from rope_eval.results.store import Store

PLAN = f"""\
loading: {{device: cpu, proof: off}}
models: [{asset("model_configs") / "lab" / "base-20"}]
measurements:
  - perplexity: {{books: builtin-chapters, lengths: [32, 64], docs: 3}}
  - attention: {{books: builtin-chapters, length: 64, docs: 3, bins: 4}}
"""


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each file of documents was fetched."""
    found: Counter[str] = Counter()
    real = RemoteFolder.read_each

    def counting(self: RemoteFolder, names: Iterable[str]) -> Iterator[object]:
        names = list(names)
        for name, data in zip(names, real(self, names), strict=True):
            of_documents = isinstance(data, bytes) and str(self.root).endswith("/documents")
            if of_documents and decode(data).kind != "token_counts":
                found[name] += 1
            yield data

    monkeypatch.setattr(RemoteFolder, "read_each", counting)
    return found


def test_no_document_is_fetched_twice(tmp_path: Path, fetched: Counter[str]) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    plan, store = Plan.read(file), Store(f"memory://here/{uuid4().hex}")
    assert work(plan, store).units == 6
    assert list(fetched.values()) == [1] * 3  # of attention, when they are put together
    fetched.clear()
    for run in list(store.runs()):
        store.folder.remove(f"{run.key}.zip")
    assert [one.stored for one in survey(plan, store)] == [3, 3]
    assert list(fetched.values()) == [1] * 6
    fetched.clear()
    assert work(plan, store).units == 0
    assert list(fetched.values()) == [1] * 6
    (run,) = [run for run in store.runs() if run.kind == "cumulative"]
    fetched.clear()
    assert TokenLosses(store, run).documents == 3
    assert list(fetched.values()) == [1] * 3
