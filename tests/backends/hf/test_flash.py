"""Which kernels are chosen: PyTorch's switch and the package are stand-ins, no GPU is asked."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rope_eval.backends.hf import flash


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    flash.switched.cache_clear()
    yield
    flash.switched.cache_clear()


def switch(monkeypatch: pytest.MonkeyPatch, *installed: str) -> list[str]:
    """Have PyTorch know these kernels; return what it is asked for."""
    asked: list[str] = []

    def activate(name: str) -> None:
        asked.append(name)
        if name not in installed:
            raise ImportError(name)

    monkeypatch.setattr(flash.attention, "activate_flash_attention_impl", activate)
    return asked


@pytest.mark.parametrize(
    ("generation", "installed", "chosen", "asked"),
    [
        (9, ("FA3", "FA4"), "FA3", ["FA3"]),
        (9, ("FA4",), "FA4", ["FA3", "FA4"]),
        (10, ("FA3", "FA4"), "FA4", ["FA4"]),
        (10, ("FA3",), None, ["FA4"]),
        (8, ("FA3", "FA4"), None, []),
    ],
)
def test_the_newest_for_the_device(
    monkeypatch: pytest.MonkeyPatch,
    generation: int,
    installed: tuple[str, ...],
    chosen: str | None,
    asked: list[str],
) -> None:
    found = switch(monkeypatch, *installed)
    assert [flash.switched(generation) for _ in range(2)] == [chosen, chosen]
    assert found == asked  # once a process


def test_a_pytorch_without_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(flash.attention, "activate_flash_attention_impl", raising=False)
    assert flash.switched(9) is None


@pytest.mark.parametrize(
    ("dtype", "widths", "plain", "kernels", "package", "called"),
    [
        (torch.bfloat16, (128, 128), True, (), True, True),
        (torch.bfloat16, (128, 128), True, ("FA3",), True, False),  # PyTorch's own are newer
        (torch.bfloat16, (128, 128), False, ("FA3",), True, True),  # a window, or a cap
        (torch.bfloat16, (128, 128), True, (), False, False),
        (torch.float32, (128, 128), True, (), True, False),
        (torch.float16, (192, 128), True, (), True, False),
        (torch.float16, (512, 512), True, (), True, False),
        (torch.float16, (256, 256), True, (), True, True),
    ],
)
def test_when_the_package_is_called(
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
    widths: tuple[int, int],
    plain: bool,
    kernels: tuple[str, ...],
    package: bool,
    called: bool,
) -> None:
    switch(monkeypatch, *kernels)
    monkeypatch.setattr(flash, "is_installed", lambda: package)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    device = torch.device("cuda")
    query, value = (
        SimpleNamespace(dtype=dtype, device=device, shape=(1, 8, 64, width)) for width in widths
    )
    given: Any = (query, value)
    assert flash.calls_package(*given, plain=plain) is called
