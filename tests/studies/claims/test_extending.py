"""Which methods extend perplexity, and which retrieval."""

from __future__ import annotations

import pytest

from helpers.lab_store import (
    DOCUMENTS,
    LENGTHS,
    TRAIN,
    put_curve,
    put_method,
    put_retrieval,
    read_laboratory,
    recipe,
    step,
)
from helpers.verdicts import grades
from rope_eval.errors import DataError
from rope_eval.results.store import Store
from studies.scaling_laws.claims import extending
from studies.scaling_laws.extended import Extended, extended, kept
from studies.scaling_laws.extensions import extensions
from studies.scaling_laws.sampling import Sample


def _stored(store: Store) -> dict[str, Extended]:
    one = recipe("pretrained", 1e4)
    put_curve(store, one, step(128))
    put_retrieval(store, one, 128)
    put_method(store, one, "log", step(128, 0.9))
    for method, at, until in (("PI", 32, 0), ("YaRN", 1024, 64), ("ReRoPE", 1e9, 512)):
        put_method(store, one, method, step(at))
        put_retrieval(store, one, until, method=method)
    return {e.method: e for e in extended(read_laboratory(store))}


def test_perplexity_is_kept_while_the_mean_excess_is_within_the_margin(store: Store) -> None:
    found = _stored(store)
    for method, at in (("as trained", 128), ("YaRN", 1024)):
        # one nat more past `at`: of L − 1 tokens L − at cost it, which is 0.3 at L = at / 0.7
        last = max(n for n in LENGTHS if n - at <= 0.3 * (n - 1))
        assert found[method].keeps.value.value == last
        assert found[method].keeps.value.low == found[method].keeps.value.high == last
    assert found["ReRoPE"].keeps.text() == "> 4096 [> 4096, > 4096]"
    assert found["PI"].keeps.value.value == 0 and found["PI"].keeps.text() == "nowhere"
    assert found["YaRN"].keeps.further.value == 1448 - 181


def test_a_margin_is_counted_from_the_training_length_on(store: Store) -> None:
    one = recipe("pretrained", 1e4)
    put_curve(store, one, step(1e9))
    put_method(store, one, "PI", lambda t: 1.5 + (t < 40) * 0.5)
    lab = read_laboratory(store)
    curve, in_window = lab.curves["pretrained", "PI"], lab.in_window(lab.checkpoints[0])
    assert set(kept(curve, in_window, Sample(DOCUMENTS, 3))) == {4096}


def test_needles_are_found_as_far_as_and_against_as_trained(store: Store) -> None:
    found = _stored(store)
    assert found["log"].finds is None and not found["log"].asked
    for method, tokens in (("as trained", 128), ("PI", 0), ("YaRN", 64), ("ReRoPE", 512)):
        finds = found[method].finds
        assert finds is not None and found[method].asked == (method != "as trained")
        assert (finds.value.value, finds.further.value) == (tokens, tokens - 128)


def test_what_extends_is_said(store: Store) -> None:
    _stored(store)
    found = extending.find(read_laboratory(store))
    assert grades(found) == {
        "PI lowers the loss": "contradicted",
        "PI finds needles further": "contradicted",
        "YaRN lowers the loss": "supported",
        "YaRN finds needles further": "contradicted",
        "ReRoPE lowers the loss": "supported",
        "ReRoPE finds needles further": "supported",
    }
    assert found.statements[2].tested == (
        "holds at all 5: pretrained at 256, pretrained at 512, pretrained at 1024, "
        "pretrained at 2048, pretrained at 4096"
    )
    assert (
        found.headline == "pretrained: 2 of 3 lower the loss at 1024 tokens, 1 find needles further"
    )
    rows = {row["method"]: row for row in found.numbers["methods"]}
    assert list(rows) == ["as trained", "log", "PI", "YaRN", "ReRoPE"]
    assert rows["YaRN"]["setting"] == {"yarn_factor": 8.0}
    past = 3072 / 4095  # of the tokens, each a nat cheaper
    assert rows["ReRoPE"]["losses"]["4096"]["difference"]["value"] == pytest.approx(
        -3968 / 4095, rel=1e-6
    )
    assert rows["YaRN"]["losses"]["4096"]["nll"]["value"] == pytest.approx(1.5 + past, rel=1e-3)


def test_methods_are_drawn_by_kind(store: Store) -> None:
    found = _stored(store)
    assert found["YaRN"].column == "frequencies"
    assert found["ReRoPE"].column == "position maps"
    one = recipe("pretrained", 1e4)
    for name in ("HardClip", "dynamic YaRN"):
        put_method(store, one, name, step(1e9))
    for other in extended(read_laboratory(store)):
        if other.method in ("HardClip", "dynamic YaRN"):
            assert other.column == "by length, fewer pairs"


def test_each_column_has_lines_that_can_be_told_apart() -> None:
    count = len(extensions(train_length=TRAIN, head_dim=64, pretrain_theta=1e4))
    looks = extending._looks(count // 2)
    assert len({(look["color"], str(look["ls"])) for look in looks}) == len(looks)


def test_without_them_there_is_nothing_to_say(store: Store) -> None:
    put_curve(store, recipe("pretrained", 1e4), step(128))
    with pytest.raises(DataError, match="no checkpoint under the methods that are to extend"):
        extending.find(read_laboratory(store))
