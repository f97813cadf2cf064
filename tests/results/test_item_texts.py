"""The words of items, by what lm-eval logs of each type of request."""

from __future__ import annotations

from typing import Any

import pytest

from rope_eval.results.item_texts import KEPT, packed, text_of, texts_of


def sample(*arguments: list[Any], resps: Any = None, target: Any = "1") -> dict[str, Any]:
    asked = {
        f"gen_args_{i}": {f"arg_{j}": part for j, part in enumerate(one)}
        for i, one in enumerate(arguments)
    }
    return {"arguments": asked, "resps": resps, "target": target}


def test_each_choice_may_have_a_prompt_of_its_own() -> None:
    asked = sample(
        ["Ann beat Bo as Ann", " won."],
        ["Ann beat Bo as Andy", " won."],
        resps=[[["-3", "False"]], [["-2", "False"]]],
    )
    assert text_of(asked) == {
        "input": "Ann beat Bo as ",
        "choices": ["Ann won.", "Andy won."],
        "target": "Andy won.",
        "answer": "Andy won.",
    }


def test_a_continuation_is_its_own_target_and_no_answer() -> None:
    asked = sample(["The end of", " time"], resps=[[["-3", "False"]]], target="x")
    assert text_of(asked) == {"input": "The end of", "target": " time"}


def test_a_target_that_is_no_place_stays_as_it_is() -> None:
    asked = sample(["q", " a"], ["q", " b"], resps=[["?"], ["?"]], target="2")
    assert text_of(asked) == {"input": "q", "choices": [" a", " b"], "target": "2"}


def test_arguments_as_older_releases_wrote_them() -> None:
    old = {"arguments": [["q", {"until": []}]], "resps": [["w"]], "target": 7}
    assert text_of(old) == {"input": "q", "target": "7", "answer": "w"}


@pytest.mark.parametrize("arguments", [None, [], "q", {"a": None}, [[1, "x"]], [[]]])
def test_what_holds_no_words_has_none(arguments: Any) -> None:
    assert text_of({"arguments": arguments}) == {}


def test_the_middle_of_a_long_text_is_left_out() -> None:
    long = "a" * KEPT + "b" * 3 + "c" * KEPT
    found = text_of(sample([long, {"until": []}], resps=[[long[:-3]]]))
    assert found["input"] == f"{'a' * KEPT}\n[… 3 letters left out …]\n{'c' * KEPT}"
    assert found["answer"] == long[:-3]


def test_texts_come_back_as_they_were_packed() -> None:
    texts = {"0:ab": {"input": "ü\u2028\0", "target": ""}}
    array = packed(texts)
    assert texts_of({"t/texts": array}, "t") == texts
    assert texts_of({"t/texts": array}, "other") == {}
