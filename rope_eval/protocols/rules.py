"""Scoring rules of protocols `paper` (OpenCompass, October 2023) and `leval`: text in, marks out.

Sources: OpenCompass 0.1.7 (evaluators and postprocessors; later versions accept more answers on NQ
and TriviaQA), L-Eval commit cd34b05 (Evaluation/auto_eval.py, em.py).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

_ARTICLES = re.compile(r"\b(?:a|an|the)\b", re.IGNORECASE)
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")
_MARKED_OPTION = re.compile(r"\s*[A-Z](?=[\s.)])")


def whole_prompt_choice(scores: Sequence[tuple[float, int]]) -> int:
    """Return the choice of OpenCompass's "ppl" mode: the lowest mean NLL of the whole prompt.

    Args:
        scores: for each choice the sum of NLL over all its tokens but BOS, in nats, and the number
            of its tokens, BOS counted.

    >>> whole_prompt_choice([(10.0, 5), (9.0, 4), (20.0, 10)])
    0
    """
    means = [total / tokens for total, tokens in scores]
    return means.index(min(means))


def normalised(text: str) -> str:
    """Cut at the first newline, full stop or comma; drop punctuation, articles and double spaces.

    >>> normalised(" The role of  (an) art, in society")
    'role of art'
    """
    first = re.split(r"[\n.,]", text, maxsplit=1)[0]
    return " ".join(_ARTICLES.sub("", re.sub(r"[^\w\s]", "", first)).split())


def first_word(prediction: str) -> str:
    """Return what Lambada compares: the first word, up to its first punctuation mark.

    >>> first_word(" door's edge")
    'door'
    """
    return normalised(_PUNCTUATION.split(prediction.strip().split(" ")[0])[0])


def short_answer(prediction: str) -> str:
    """Return what NQ and TriviaQA compare: the first line after "answer is", in lower case.

    >>> short_answer(" The answer is the Nile.")
    'nile'
    """
    line = prediction.strip().split("\n")[0].lower()
    return normalised(line.split("answer is")[-1])


def entity(prediction: str) -> str:
    """Return what ReCoRD compares: the first line, without "Answer: ".

    >>> entity(" Answer: The Hague")
    'Hague'
    """
    return normalised(prediction.strip().split("\n")[0].replace("Answer: ", ""))


def digits_after_answer(prediction: str) -> str:
    """Return the digits of the first word with a digit after the first "The answer is", or "".

    >>> digits_after_answer("So 7. The answer is $1,234.50 in all. The answer is 9")
    '123450'
    """
    _, found, rest = prediction.partition("The answer is")
    rest = rest.partition("The answer is")[0]
    word = next((w for w in rest.split(" ") if any(c.isdigit() for c in w)), "")
    return "".join(c for c in word if c.isdigit()) if found else ""


def first_capital(prediction: str) -> str:
    """Return the first capital letter, whichever it is, or "".

    >>> first_capital("the answer: (B)"), first_capital("The answer: (B)"), first_capital("b")
    ('B', 'T', '')
    """
    return next((c for c in prediction if c.isupper()), "")


def first_run(prediction: str) -> str:
    """Return the first run of the letters A to D, or "".

    >>> first_run("x BD, A"), first_run("Answer: C"), first_run("E")
    ('BD', 'A', '')
    """
    found = re.search("[A-D]+", prediction)
    return found[0] if found else ""


def leval_letter(prediction: str) -> str:
    """Return L-Eval's answer to a question with one right option; "A" where there is no letter.

    >>> [leval_letter(text) for text in (" (B) or C", "", "none", "BC")]
    ['B', 'None', 'A', 'BC']
    """
    if not prediction.strip():
        return "None"
    if prediction in "ABCD":
        return prediction
    return next((c for c in prediction if c in "ABCD"), "A")


def leval_letters(prediction: str) -> str:
    """Return L-Eval's answer to a question with several right options (Coursera).

    >>> [leval_letters(text) for text in ("DB.", "B. and D. Question A.", "so BCx", "no", "")]
    ['BD', 'BD', 'BC', 'A', 'None']
    """
    if not prediction.strip():
        return "None"
    if prediction in "ABCD":
        return prediction
    leading = re.match("[A-D]*", prediction)
    run = leading[0] if leading else ""
    if len(run) > 1:
        return "".join(sorted(set(run)))
    rest = prediction[len(run) :].split("Question", maxsplit=1)[0]
    marked = run + "".join(_MARKED_OPTION.findall(rest))
    letters = "".join(sorted(set(marked) & set("ABCD")))
    return letters or first_run(rest) or "A"


def leval_number(prediction: str) -> str:
    r"""Return L-Eval's number: after "The answer is", or the first paragraph's last; digits alone.

    >>> leval_number("The answer is $1,234.50"), leval_number("4 and then 12 eggs\n\n9")
    ('1234', '12')
    """
    if found := re.search(r"The answer is (\S+)", prediction):
        word = found[1]
    else:
        words = prediction.split("\n\n", maxsplit=1)[0].split(" ")
        word = next((w for w in reversed(words) if any(c.isdigit() for c in w)), "")
    return "".join(c for c in word.partition(".")[0] if c.isdigit())


def leval_option_mark(answer: str, gold: str) -> float:
    """Return 1 for the right set of letters, 0.25 for a part of it, else 0.

    >>> [leval_option_mark(answer, "BD") for answer in ("BD", "B", "BC", "None")]
    [1.0, 0.25, 0.0, 0.0]
    """
    if answer == gold:
        return 1.0
    return 0.25 if set(answer) <= set(gold) else 0.0


def leval_gold_letters(gold: str) -> str:
    """Return the letters of the reference's first word; "A" where it has none.

    >>> leval_gold_letters("(B) They did."), leval_gold_letters("BD")
    ('B', 'BD')
    """
    return re.sub("[^A-D]", "", gold.split(maxsplit=1)[0]) or "A"


def _same(answer: str, gold: str) -> float:
    return float(answer == gold)


def _among_normalised(answer: str, golds: Sequence[str]) -> float:
    return float(answer in {normalised(gold) for gold in golds} | set(golds))


def _among_lower(answer: str, golds: Sequence[str]) -> float:
    return float(answer in {normalised(gold).lower() for gold in golds})


def _contained(answer: str, gold: str) -> float:
    return float(normalised(gold) in answer or gold in answer)


def _squeezed_contained(answer: str, gold: str) -> float:
    squeezed, wanted = (text.lower().replace(" ", "") for text in (answer, gold))
    return float(wanted in squeezed)


Read = Callable[[str], str]
Mark = Callable[[str, Any], float]

RULES: Mapping[str, tuple[Read, Mark]] = MappingProxyType(
    {
        "first_word": (first_word, lambda answer, gold: _same(answer, normalised(gold))),
        "short_answer": (short_answer, _among_lower),
        "entity": (entity, _among_normalised),
        "digits": (digits_after_answer, lambda answer, gold: _same(answer, gold.replace(",", ""))),
        "first_capital": (first_capital, _same),
        "first_run": (first_run, _same),
        "topic": (normalised, _contained),
        "leval_letter": (
            leval_letter,
            lambda answer, gold: leval_option_mark(answer, leval_gold_letters(gold)),
        ),
        "leval_letters": (
            leval_letters,
            lambda answer, gold: leval_option_mark(answer, leval_gold_letters(gold)),
        ),
        "leval_number": (
            leval_number,
            lambda answer, gold: float(answer != "" and int(answer) == int(leval_number(gold))),
        ),
        "leval_topic": (str, _squeezed_contained),
    }
)
"""By its name, how a rule reads a generated text and marks the reading against the reference."""


def histogram(predictions: Sequence[str]) -> dict[str, int]:
    """Count what was predicted, most frequent first: one letter throughout is no answer.

    >>> histogram(["B", "A", "B", ""])
    {'B': 2, '': 1, 'A': 1}
    """
    return dict(sorted(Counter(predictions).items(), key=lambda item: (-item[1], item[0])))
