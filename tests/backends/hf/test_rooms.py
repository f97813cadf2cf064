"""A cache whose keys stay turned: whatever is done to it between steps, its scores are the same."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import DynamicCache, PreTrainedModel

from helpers import models
from helpers.rows import padded, rows_of
from rope_eval import RopeSpec, patched
from rope_eval.backends.hf import layer_attention, rooms, steps
from rope_eval.backends.hf.compat import cache_argument
from rope_eval.backends.hf.rooms import RoomyLayer, RoomyWindow

NATS = 1e-4
SPECS = [
    "",
    "xpos=true,reference_length=3,log_scale=true",
    "dynamic_ntk=per_query,reference_length=7.3,xpos=true,log_scale=true,rope_theta=500",
    "dynamic_ntk=per_query,rope_theta=40000,beyond_critical=drop",
]
MAPS = [
    "rerope_window=12,log_scale=true,reference_length=20",
    "leaky_rerope_window=9,leaky_rerope_factor=3,dynamic_ntk=per_query,reference_length=11",
    "self_extend_window=12,self_extend_group=4",
    "dual_chunk_size=10,dual_chunk_limit=14,dynamic_ntk=per_query,reference_length=7.3",
    "string_shift=10,string_window=3,rotated_share=0.5",
]
ANEW = "dynamic_ntk=per_sequence,ntk_formula=continuous,reference_length=11"
EACH_STEP = [
    ANEW,
    f"{ANEW},xpos=true,log_scale=true,rope_theta=500",
    f"{ANEW},self_extend_window=12,self_extend_group=4",
    f"{ANEW},dual_chunk_size=8",
]


@pytest.fixture(autouse=True)
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few tokens outgrow it, and are turned in several blocks."""
    monkeypatch.setattr(rooms, "ROOM", 5)
    monkeypatch.setattr(rooms, "BLOCK", 4)
    monkeypatch.setitem(steps.AT_ONCE, "cpu", 1 << 9)


def turned_by(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how many keys are turned anew, beside the own one of each step."""
    counts: list[int] = []
    turn = rooms._Roomy._turn

    def counted(self: Any, *args: Any) -> None:
        counts.append(args[-1] - args[-2])
        turn(self, *args)

    monkeypatch.setattr(rooms._Roomy, "_turn", counted)
    return counts


def read(
    model: PreTrainedModel, ids: Tensor, cache: DynamicCache, mask: Tensor | None = None
) -> Tensor:
    """Return log p of tokens that go into a cache one by one."""
    found = []
    for i in range(ids.shape[1]):
        seen = None if mask is None else mask[:, : mask.shape[1] - ids.shape[1] + i + 1]
        out = model(ids[:, i : i + 1], attention_mask=seen, **{cache_argument(model): cache})
        found.append(out.logits.double().log_softmax(-1))
    return torch.cat(found, dim=1)


def octaves_of(length: int) -> RopeSpec:
    return RopeSpec(dynamic_ntk="per_query", reference_length=float(length))


def crop(cache: DynamicCache) -> DynamicCache:
    cache.crop(-7)
    return cache


def cut_behind_its_back(cache: DynamicCache) -> DynamicCache:
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[:, :, :-7], layer.values[:, :, :-7]
    return cache


def copied(cache: DynamicCache) -> DynamicCache:
    return copy.deepcopy(cache)


def pickled(cache: DynamicCache) -> DynamicCache:
    made: DynamicCache = pickle.loads(pickle.dumps(cache))
    return made


def with_layers_copied(cache: DynamicCache) -> DynamicCache:
    """The first goes on with its own: what it writes must not show in the other."""
    other = copy.copy(cache)
    other.layers = [copy.copy(layer) for layer in cache.layers]
    return other


@pytest.mark.parametrize("change", [crop, cut_behind_its_back, copied, pickled, with_layers_copied])
@pytest.mark.parametrize("text", SPECS + MAPS)
def test_a_changed_cache_goes_on(text: str, change: Callable[[DynamicCache], DynamicCache]) -> None:
    model, ids = models.tiny(), models.token_ids(60)
    other = models.token_ids(61)[:, :60]
    with torch.inference_mode(), patched(model, RopeSpec.parse(text)):
        cache = DynamicCache(config=model.config)
        read(model, ids[:, :40], cache)
        changed = change(cache)
        if changed is not cache:
            read(model, other[:, 40:50], cache)
        count = changed.get_seq_length()
        text_now = torch.cat((ids[:, :count], other[:, count:]), dim=1)
        found = read(model, text_now[:, count:], changed)
        whole = models.log_probabilities(model, text_now)
    assert all(type(layer) is RoomyLayer for layer in changed.layers)
    assert_close(found, whole[:, count:], rtol=0, atol=NATS)


@pytest.mark.parametrize("how", ["reorder", "select", "mask", "repeat"])
@pytest.mark.parametrize("text", SPECS + MAPS)
def test_rows_that_change_places(text: str, how: str) -> None:
    model, rows = models.tiny(), rows_of([40, 21, 33])
    ids, mask = padded(rows, "left")
    order = {"reorder": [2, 0, 0], "select": [1, 2], "mask": [0, 2], "repeat": [0, 0, 1, 1, 2, 2]}
    chosen = torch.tensor(order[how])
    with torch.inference_mode(), patched(model, RopeSpec.parse(text)):
        cache = DynamicCache(config=model.config)
        model(ids[:, :35], attention_mask=mask[:, :35], **{cache_argument(model): cache})
        read(model, ids[:, 35:], cache, mask)
        if how == "reorder":
            cache.reorder_cache(chosen)
        elif how == "repeat":
            cache.batch_repeat_interleave(2)
        else:
            cache.batch_select_indices(
                chosen if how == "select" else torch.tensor([True, False, True])
            )
        more = models.token_ids(12, rows=len(chosen), seed=5)
        seen = torch.cat((mask[chosen], torch.ones_like(more)), dim=1)
        found = read(model, more, cache, seen)
        for i, row in enumerate(chosen.tolist()):
            alone = torch.cat((rows[row], more[i]))[None]
            whole = models.log_probabilities(model, alone)[0, -12:]
            assert_close(found[i], whole, rtol=0, atol=NATS)


@pytest.mark.parametrize("text", SPECS + MAPS)
def test_two_caches_by_turns_and_under_two_settings(text: str) -> None:
    model = models.tiny()
    texts = [models.token_ids(40), models.token_ids(41)[:, :40]]
    with torch.no_grad():
        caches = [DynamicCache(), DynamicCache(config=model.config)]
        found: list[list[Tensor]] = [[], []]
        specs = [RopeSpec.parse(text), RopeSpec(rope_theta=300)]
        for start in range(0, 40, 4):
            for i in range(2):
                with patched(model, specs[i]):
                    found[i].append(read(model, texts[i][:, start : start + 4], caches[i]))
        for i in range(2):
            with patched(model, specs[i]):
                whole = models.log_probabilities(model, texts[i])
            assert_close(torch.cat(found[i], dim=1), whole, rtol=0, atol=NATS)


@pytest.mark.parametrize("change", [crop, cut_behind_its_back, copied])
@pytest.mark.parametrize("text", EACH_STEP)
def test_of_another_base_at_each_step_it_is_what_recomputing_gives(
    text: str, change: Callable[[DynamicCache], DynamicCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = models.tiny(), rows_of([40, 21, 33])
    ids, mask = padded(rows, "left")
    found = []
    for recomputed in (False, True):
        if recomputed:
            monkeypatch.setattr(layer_attention, "room_of", lambda _: None)
        with torch.inference_mode(), patched(model, RopeSpec.parse(text)):
            cache = DynamicCache(config=model.config)
            model(ids[:, :30], attention_mask=mask[:, :30], **{cache_argument(model): cache})
            parts = [read(model, ids[:, 30:], cache, mask)]
            cache = change(cache)
            count = cache.get_seq_length()
            seen = torch.cat((mask[:, :count], torch.ones(3, 9, dtype=torch.int64)), dim=1)
            more = models.token_ids(9, rows=3, seed=5)
            parts += [read(model, more, cache, seen)]
        found.append(torch.cat(parts, dim=1))
    assert_close(found[0], found[1], rtol=0, atol=NATS)


@pytest.mark.parametrize("text", [*SPECS, *MAPS, *EACH_STEP])
def test_in_float64_it_is_what_recomputing_gives_to_the_tables_precision(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.build(models.tiny().config).double()
    rows = rows_of([40, 21, 33])
    ids, mask = padded(rows, "left")
    found = []
    for recomputed in (False, True):
        if recomputed:
            monkeypatch.setattr(layer_attention, "room_of", lambda _: None)
        with torch.no_grad(), patched(model, RopeSpec.parse(text)):
            cache = DynamicCache()
            model(ids[:, :30], attention_mask=mask[:, :30], **{cache_argument(model): cache})
            found.append(read(model, ids[:, 30:], cache, mask))
    assert_close(found[0], found[1], rtol=0, atol=1e-5)


def test_under_a_map_one_key_more_is_turned_at_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = models.tiny(), models.token_ids(40)
    with torch.no_grad():
        for text, more in (("self_extend_window=12,self_extend_group=4", 1), ("string_shift=9", 0)):
            with monkeypatch.context() as context:
                counts = turned_by(context)
                with patched(model, RopeSpec.parse(text)):
                    cache = DynamicCache()
                    model(ids[:, :30], **{cache_argument(model): cache})
                    read(model, ids[:, 30:32], cache)
                    assert counts[:2] == [30, 30]  # of two layers, at the first step
                    read(model, ids[:, 32:], cache)
            assert counts[2:] == [1] * (more * 2 * 9)


def test_another_setting_turns_the_keys_again() -> None:
    """Of one layer, whose keys do not depend on the setting."""
    model, ids = models.build(models.config_of("llama", num_hidden_layers=1)), models.token_ids(30)
    cache = DynamicCache()
    with torch.no_grad():
        with patched(model, RopeSpec()):
            read(model, ids[:, :20], cache)
        with patched(model, RopeSpec(rope_theta=30)):
            found = read(model, ids[:, 20:], cache)
            whole = models.log_probabilities(model, ids)[:, 20:]
    assert_close(found, whole, rtol=0, atol=NATS)


def test_a_value_that_another_wrote_is_seen() -> None:
    model, ids = models.tiny(), models.token_ids(30)
    with torch.no_grad(), patched(model, RopeSpec()):
        cache, other = DynamicCache(), DynamicCache()
        read(model, ids[:, :20], cache)
        for layer in cache.layers:
            layer.keys[:, :, 3] = 0
        for layer in cache.layers:
            other.update(layer.keys.clone(), layer.values.clone(), len(other.layers))
        other._rope_eval = 20  # type: ignore[attr-defined]
        found, expected = (read(model, ids[:, 20:], some) for some in (cache, other))
    assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_reset_cache_reads_another_text() -> None:
    model, ids = models.tiny(), models.token_ids(30)
    with torch.no_grad(), patched(model, RopeSpec.parse(SPECS[2])):
        cache = DynamicCache(config=model.config)
        read(model, models.token_ids(44), cache)
        cache.reset()
        assert cache.get_seq_length() == 0
        found = read(model, ids, cache)
        whole = models.log_probabilities(model, ids)
    assert_close(found, whole, rtol=0, atol=NATS)


@pytest.mark.parametrize("text", SPECS)
@pytest.mark.parametrize("config", [True, False])
def test_windows(text: str, config: bool) -> None:
    model, rows = models.mixed(), rows_of([58, 40, 12])
    ids, mask = padded(rows, "left")
    with torch.inference_mode(), patched(model, RopeSpec.parse(f"{text},layers=all".strip(","))):
        cache = DynamicCache(config=model.config) if config else DynamicCache()
        model(ids[:, :48], attention_mask=mask[:, :48], **{cache_argument(model): cache})
        found = read(model, ids[:, 48:], cache, mask)
        if config:
            assert type(cache.layers[1]) is RoomyWindow
            assert cache.layers[1].keys.shape[2] == 15
        for i, row in enumerate(rows):
            whole = models.log_probabilities(model, row[None])[0, -10:]
            assert_close(found[i], whole, rtol=0, atol=NATS)


def test_only_what_is_new_is_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = models.tiny(), models.token_ids(30)
    counts = turned_by(monkeypatch)
    with (
        torch.no_grad(),
        patched(model, octaves_of(16)),
    ):
        cache = DynamicCache()
        model(ids[:, :10], **{cache_argument(model): cache})
        read(model, ids[:, 10:16], cache)
        assert counts == [10, 10]  # of two layers, at the first step
        read(model, ids[:, 16:], cache)
        assert counts == [10, 10, 16, 16]  # and at the border of an octave
        cache.crop(-4)
        read(model, ids[:, 26:28], cache)
        cache.reorder_cache(torch.tensor([0]))
        read(model, ids[:, 28:], cache)
        assert len(counts) == 4


def test_of_a_batch_the_rows_alone_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = models.tiny(), rows_of([40, 21])
    ids, mask = padded(rows, "left")
    counts = turned_by(monkeypatch)
    with (
        torch.no_grad(),
        patched(model, octaves_of(30)),
    ):
        cache = DynamicCache()
        model(ids[:, :28], attention_mask=mask[:, :28], **{cache_argument(model): cache})
        read(model, ids[:, 28:35], cache, mask[:, :35])
        assert counts[-2:] == [30, 30]  # the row of 40, in each layer
        assert counts[:-2] == [28, 28] * 2


def test_gradients_go_through_a_cache_as_before() -> None:
    model, ids = models.tiny(), models.token_ids(12)
    found = []
    for stock in (True, False):
        cache = DynamicCache()
        with patched(model, RopeSpec()) if not stock else torch.enable_grad():
            for i in range(12):
                out = model(ids[:, i : i + 1], **{cache_argument(model): cache}).logits
            (grad,) = torch.autograd.grad(out[0, -1, 3], model.model.embed_tokens.weight)
        found.append(grad)
    assert found[0].abs().max() > 0.1
    assert_close(found[1], found[0], rtol=0, atol=1e-4)


def test_rows_that_do_not_fit_are_refused_as_stock_refuses_them() -> None:
    layer = RoomyLayer()
    layer.update(torch.ones(2, 1, 3, 4), torch.ones(2, 1, 3, 4))
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        layer.update(torch.ones(1, 1, 1, 4), torch.ones(1, 1, 1, 4))
