"""The words of a task's items, as a run keeps them: prompt, choices, target and answer.

``TASK/texts`` is one compressed JSON object, by the items' names; a text of many thousand letters
has its middle left out, and says how much.
"""

from __future__ import annotations

import ast
import json
import zlib
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import numpy.typing as npt

ARRAY = "texts"
KEPT = 4096
"""Letters at each end of a text that are kept."""
_MOST = 1 << 30  # bytes of a task's texts


def text_of(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return the words of a sample that lm-eval has logged; empty where it holds none.

    Args:
        sample: a line of its file.

    Returns:
        ``input``, ``target`` and, as far as there are any, ``choices`` and ``answer``: what was
        written, or the likeliest choice. Where each choice has a prompt of its own, the input is
        what all begin with.
    """
    requests = _requests(sample.get("arguments"))
    if not requests:
        return {}
    answers = [one[0] if isinstance(one, list) and one else one for one in _list(sample, "resps")]
    target = sample.get("target")
    words = {"target": "" if target is None else str(target)}
    if len(requests) == 1:
        prompt, *after = requests[0]
        if after and isinstance(after[0], dict) and answers:  # a dict is how to generate
            words["answer"] = str(answers[0])
        elif after and isinstance(after[0], str):
            words["target"] = after[0]
        return {"input": _cut(prompt)} | {name: _cut(text) for name, text in words.items()}
    whole = ["".join(part for part in one if isinstance(part, str)) for one in requests]
    prompts = {one[0] for one in requests}
    prompt = prompts.pop() if len(prompts) == 1 else _beginning(whole)
    choices = [_cut(one[len(prompt) :]) for one in whole]
    right = words["target"]
    if right.isdecimal() and int(right) < len(choices):
        right = choices[int(right)]
    found: dict[str, Any] = {"input": _cut(prompt), "target": _cut(right), "choices": choices}
    likely = [_log_likelihood(one) for one in answers]
    if len(likely) == len(choices) and None not in likely:
        found["answer"] = choices[int(np.argmax(np.array(likely, dtype=float)))]
    return found


def packed(texts: Mapping[str, Mapping[str, Any]]) -> npt.NDArray[np.uint8]:
    """Return the array of the words of a task's items, by their names."""
    whole = json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return np.frombuffer(zlib.compress(whole), dtype=np.uint8)


def texts_of(arrays: Mapping[str, npt.NDArray[Any]], task: str) -> dict[str, dict[str, Any]]:
    """Return the words of a task's items by their names; empty where none are kept."""
    array = arrays.get(f"{task}/{ARRAY}")
    if array is None:
        return {}
    whole = zlib.decompressobj().decompress(array.tobytes(), _MOST)
    found: dict[str, dict[str, Any]] = json.loads(whole.decode("utf-8", "replace"))
    return found


def _requests(given: Any) -> list[list[Any]]:
    """Return the arguments of each request; older releases of lm-eval wrote them as lists."""
    ones = list(given.values()) if isinstance(given, dict) else given
    if not isinstance(ones, list):
        return []
    each = [list(one.values()) if isinstance(one, dict) else one for one in ones]
    whole = all(isinstance(one, list) and one and isinstance(one[0], str) for one in each)
    return each if whole else []


def _list(sample: Mapping[str, Any], name: str) -> list[Any]:
    value = sample.get(name)
    return value if isinstance(value, list) else []


def _log_likelihood(response: Any) -> float | None:
    """Return the first of what lm-eval writes of a choice, (nats, whether it is the greedy one)."""
    try:
        value = ast.literal_eval(response) if isinstance(response, str) else response
        return float(value[0] if isinstance(value, list | tuple) else value)
    except (ValueError, TypeError, SyntaxError, IndexError, MemoryError, RecursionError):
        return None


def _beginning(texts: Sequence[str]) -> str:
    """Return the words that all texts begin with."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    same = "".join(letters[0] for letters in alike)
    return same[: same.rfind(" ") + 1]


def _cut(text: str) -> str:
    left_out = len(text) - 2 * KEPT
    if left_out <= 0:
        return text
    return f"{text[:KEPT]}\n[… {left_out} letters left out …]\n{text[-KEPT:]}"
