"""What models went on with, each setting beside the reference: Appendix E of arXiv 2310.05209."""

from __future__ import annotations

from rope_eval.report.page.findings import Findings
from rope_eval.report.page.model import Sample

KIND = "continuation"
REFERENCE = "the text itself"


def samples(found: Findings) -> list[Sample]:
    """Return a sample for each beginning that was gone on with, in the order of the runs."""
    texts: dict[tuple[str, int, str, str], list[tuple[str, str]]] = {}
    for run in found.runs:
        if run.kind == KIND and run.status == "done":
            for one in run.results["samples"]:
                begun = (one["document"], one["context_tokens"], one["prompt"], one["reference"])
                texts.setdefault(begun, []).append((found.names[run.key], one["text"]))
    return [
        Sample(
            title=f"{document}, after {tokens} tokens",
            prompt=prompt,
            texts=((REFERENCE, reference), *written),
        )
        for (document, tokens, prompt, reference), written in texts.items()
    ]
