"""A store with every kind of outcome that a page must tell: written by hand, nothing is run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers import lm_eval_files
from rope_eval.results import identity
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.store import Run, Store
from rope_eval.rope.spec import RopeSpec

NASTY = "<script>document.title='hit'</script><img src=x onerror=document.title='hit'>"
PROOF = {"neutral": 4e-6, "layers": 1e-7, "moves": {"rope_theta": 2.5}, "tokens": 12}
LENGTHS = (64, 128)


def curve(
    store: Store,
    theta: float,
    perplexities: Sequence[float] = (8.0, 4.0),
    *,
    proof: Any = PROOF,
    failed: Sequence[Mapping[str, str]] = (),
    error: str | None = None,
    books: str = "builtin",
    name: str = "one",
) -> str:
    """Store a run of whole books with these perplexities at `LENGTHS`, and return its key."""
    asked = identity.request(
        "cumulative",
        "me/model",
        RopeSpec(rope_theta=theta),
        backend="hf",
        dtype="float32",
        lengths=list(LENGTHS),
        documents=[{"name": name, "sha256": "a" * 64}, {"name": "two", "sha256": "b" * 64}],
        books=books,
    )
    totals = [
        {"nll": (n - 1) * math.log(ppl), "hits": (n - 1) // 2, "tokens": n - 1}
        for n, ppl in zip(LENGTHS, perplexities, strict=True)
    ]
    results = {
        "totals": totals,
        "by_document": [totals],
        "failed": list(failed),
        "extrapolation_bound": 100.0,
        "effective_from": {"rope_theta": 1},
    }
    run = Run(
        key=identity.run_key(asked),
        kind="cumulative",
        status="failed" if error else "done",
        request=asked,
        results={} if error else results,
        provenance={
            "started": f"2026-11-26T00:00:{int(math.log10(theta)):02}.5+00:00",
            "git_commit": "abc123",
            "command": ["rope-eval", "run", "plan.yaml", "--x", "a b"],
            "machine": {"gpu": None, "processors": 2, "memory_bytes": 8 << 30, "platform": "Linux"},
            "versions": {"torch": "2.13.0", "lm-eval": None},
            "duration_s": 1.25,
            "ran": [{"dtype": "float32", "device": "cpu"}],
            "row": None,
            "proof": proof,
        },
        error=error,
    )
    return store.put(run).key


def tasks(store: Store, folder: Path, scores: Mapping[str, Any], **options: Any) -> str:
    """Store an import of lm-eval's files with these scores, and return its key."""
    lm_eval_files.write(folder, scores, **options)
    (imported,) = read_lm_eval(folder)
    return store.put(imported.run, imported.arrays).key


def full(root: Path) -> Store:
    """Return a store with a done run, one that failed, one in part, one infinite, and tasks."""
    store = Store(root / "runs")
    curve(store, 1e1, name=NASTY, books=f"books{NASTY}")
    curve(store, 1e2, error="model.safetensors: no such file")
    curve(store, 1e3, failed=[{"name": "two", "sha256": "b" * 64, "error": "two: a score is NaN"}])
    curve(store, 1e4, (math.exp(700), 1e10), proof="off")
    curve(store, 1e5, (3.0, 2.0), proof="none: the stock model scores what is no number")
    tasks(
        store,
        root / "lm",
        {"piqa": [1.0, 0.0] * 50, "rope_paper_mmlu_anatomy": [1.0] * 80 + [0.0] * 20},
        answers={"rope_paper_mmlu_anatomy": {"A": 100}},
        n_all=200,
    )
    continued(store, 1e1, f"</pre></script>{NASTY}", document=NASTY)
    continued(store, 1e2, " a time", document=NASTY)
    (store.root / "notes.txt").write_text("not a run")
    (store.root / f"{'0' * 16}.zip").write_bytes(b"broken")
    return store


def continued(store: Store, theta: float, text: str, *, document: str = "a book") -> str:
    """Store what a setting wrote after the beginning of a book, and return its key."""
    asked = identity.request(
        "continuation", "me/model", RopeSpec(rope_theta=theta), backend="hf", dtype="float32"
    )
    sample = {"document": document, "context_tokens": 64, "prompt": "Once", "reference": "upon"}
    run = Run(
        key=identity.run_key(asked),
        kind="continuation",
        status="done",
        request=asked,
        results={"effective_from": {}, "samples": [sample | {"text": text}]},
        provenance={"started": f"2026-11-26T00:01:{int(math.log10(theta)):02}", "proof": PROOF},
    )
    return store.put(run).key
