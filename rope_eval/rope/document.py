"""docs/methods.md from the registry: ``python -m rope_eval.rope.document > docs/methods.md``.

How far each method goes is what the laboratory measured: docs/laboratory/findings.json.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rope_eval.paths import checkout
from rope_eval.rope import methods
from rope_eval.rope.method import Method
from rope_eval.rope.spec import RopeSpec

_HEAD = """\
# The position methods

Written by `python -m rope_eval.rope.document` from `rope_eval/rope/methods`, one file a method: its
docstring says how to add one. Every field is an argument of every host: `RopeSpec`, `--rope`,
lm-eval's `model_args`, OpenCompass's `ScalingRope`, the catalogue and vLLM's `additional_config`.
The Hugging Face backend runs them all, under lm-eval and OpenCompass too. Scales, frequencies and
positions combine; a method that sets every frequency itself is refused, by name, beside another
that sets or scales them. Where the config scales its frequencies already, a method can turn pairs
off, taper or round them, but not change the rest.

A field that is a list is typed as `1:2:4`, two lists as `1:1:1/2:4:8`, given as a list in YAML, or
read from a file of JSON or of plain numbers, as `@factors.json`. What is recorded and told apart is
its content, with all digits.

`rope-eval spec --model DIR` prints the setting that a config amounts to; with `--to-config --rope
…` what the config of a plain checkpoint must say for transformers or vLLM to run a setting, or that
no config says it.

The cost is processor time beside that of the neutral setting: of scoring 8192 tokens, and of a step
of generation after as many, on a model so small that attention is most of its work, so it is the
most that one pays (`benchmarks/methods.py`, on one thread of a CPU). A tenth is noise."""

_COLUMNS = (
    "method",
    "fields",
    "what it changes",
    "depends on",
    "source",
    "vLLM",
    "cost",
    "without tuning",
)

_CHECKED_HEAD = """\
## Checked against

Every method has a float64 brute force in the tests, written from the formula. Where authors publish
code that a CPU can run, it ran beside ours, outside this repository: in the transformers that it
was written for, on the same tiny random weights (two layers, Qwen2's for Qwen's code and Llama's
for the others) and 96 random tokens, with a training length of 32, in float32. Calls of flash
attention went to an exact softmax. "As" is the setting that gives the same numbers; "off" is the
largest difference of any log-probability, in nats, over prefill and, where it says so, decoding
with a cache. These settings move some log-probability by 0.8 to 14 nats, and plain models differ by
9e-6 between those transformers and today's. `tests/rope/methods/test_authors.py` keeps some of the
numbers that the authors' code gave, so that another reading fails there."""


_MEASURED = """\
![periods of the pairs, and the distance that a query sees](methods.png)

The figure (`python -m rope_eval.report.figures.methods docs/methods.png`) has a factor of 8 on
LLaMA2's 4096 tokens, and maps at their authors' sizes.

The last column is what [the laboratory](laboratory.md) measured on `{checkpoint}`, a model of
0.6 M parameters, without tuning: the cumulative perplexity at its T_train of {train_length} tokens
and at {factor} times that; how many times T_train it is kept, within 0.3 nats of the loss in
windows of T_train; and how far a needle at the beginning of a text is found. As trained:
{trained}. Intervals, other lengths, and methods together are in
[laboratory/findings.md](laboratory/findings.md). Take from so small a model which method helps
what, and no length for a large one. Interpolation, YaRN, LongRoPE, Resonance, CoPE and DroPE are
meant for a tuning with them, which this model has not had."""


def measured(root: Path) -> dict[str, Any]:
    """Return what the laboratory of a checkout found of methods, as its page has it."""
    file = root / "docs" / "laboratory" / "findings.json"
    findings = json.loads(file.read_text(encoding="utf-8"))["findings"]
    numbers: dict[str, Any] = findings["extending"]["numbers"]
    return numbers


def costs(root: Path) -> dict[str, Any]:
    """Return what `benchmarks/methods.py` measured last in a checkout, by method and setting."""
    file = root / "results" / "benchmarks" / "methods-cpu.json"
    ratios: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["methods"]
    return ratios


def page(found: Mapping[str, Any], ratios: Mapping[str, Any]) -> str:
    """Return the whole page, in Markdown.

    Args:
        ratios: as of `costs`.
        found: as of `measured`: ``train_length``, ``factor`` and ``methods``, of which those count
            that are of the first one's checkpoint.
    """
    trained, *others = found["methods"]
    runs = [
        (RopeSpec.from_dict(run["setting"]), _reach(run, found))
        for run in others
        if run["checkpoint"] == trained["checkpoint"]
    ]
    fields = (
        (f"`{field.name}`", f"`{field.default}`", field.says)
        for method in methods.REGISTRY
        for field in method.fields
    )
    rows = [
        (
            method.name,
            ", ".join(f"`{field.name}`" for field in method.fields),
            method.says,
            _lengths(method),
            method.source,
            _served(method),
            _cost(ratios.get(method.name, {})),
            "; ".join(
                f"`{spec.label}`: {reach}"
                for spec, reach in runs
                if methods.active(spec) == (method,)
            ),
        )
        for method in methods.METHODS
    ]
    return "\n\n".join(
        (
            _HEAD,
            _MEASURED.format(
                checkpoint=trained["checkpoint"],
                train_length=found["train_length"],
                factor=found["factor"],
                trained=_reach(trained, found),
            ),
            _table(_COLUMNS, rows),
            "## Fields\n\n" + _table(("field", "default", "what it is"), fields),
            _checks(),
        )
    )


def _checks() -> str:
    """Return the section on the authors' code: what of it ran beside ours, and how they differ."""
    rows = [
        (
            method.name,
            f"{checked.code}, at {checked.commit}: {checked.ran}",
            "<br>".join(f"`{setting}`" for setting in checked.settings),
            f"{checked.off:.2g}",
            checked.readings,
        )
        for method in methods.METHODS
        for checked in method.checked
    ]
    without = ", ".join(method.name for method in methods.METHODS if not method.checked)
    return "\n\n".join(
        (
            _CHECKED_HEAD,
            _table(("method", "what ran", "as", "off", "where it reads otherwise"), rows),
            f"No authors' code ran for: {without}. Those of arXiv 2310.05209 have published none "
            "(OpenLMLab/scaling-rope at eee27a0).",
        )
    )


def _lengths(method: Method) -> str:
    names = {"train_length": "`train_length`", "bound": "the extrapolation bound"}
    return ", ".join(names[need] for need in method.needs)


def _served(method: Method) -> str:
    found = [method.not_served(RopeSpec.parse(text)) for text in method.examples]
    reasons = {no and no.why for no in found}
    if len(reasons) == 1 and None not in reasons:
        return f"no: {reasons.pop()}"
    refused = {f"`{no.setting}`: {no.why}": None for no in found if no is not None}
    return f"yes, but not {'; '.join(refused)}" if refused else "yes"


def _cost(ratios: Mapping[str, Mapping[str, float]]) -> str:
    """Return what was measured of a method, by its settings where there are several."""
    return "; ".join(
        f"{f'`{setting}`: ' if len(ratios) > 1 else ''}scoring ×{found['scoring']:.1f}, generation "
        f"×{found['generation']:.1f}"
        for setting, found in ratios.items()
    )


def _reach(run: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    train_length = found["train_length"]
    lengths = (train_length, train_length * found["factor"])
    losses = (run["losses"][str(length)]["nll"]["value"] for length in lengths)
    at_train, at_longer = (f"{math.exp(nll):.3g}" for nll in losses)
    kept, needles = run["keeps_perplexity_up_to"], run["finds_as_far_as"]
    words = f"perplexity {at_train} → {at_longer}, kept {_times(kept, train_length)}"
    return words if needles is None else f"{words}, needles {_times(needles, train_length)}"


def _times(reach: Mapping[str, Any], train_length: int) -> str:
    value, longest = reach["value"], reach["longest"]
    if value == 0:
        return "nowhere"
    return f"to ×{value / train_length:.2g}{' or more' if value >= longest else ''}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tuple(head)
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join(f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |" for row in lines)


if __name__ == "__main__":
    root = checkout()
    assert root is not None, "the page is made in a checkout"
    print(page(measured(root), costs(root)))
