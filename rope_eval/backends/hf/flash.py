"""Which flash attention a CUDA device computes with: the newest that is installed.

FlashAttention 4 and 3 come in under PyTorch's own attention, by its switch; the package flash_attn
(2) is called by name, and has windows and caps too. None of it was run on a GPU here.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import torch
from torch import Tensor
from torch.nn import attention

LONGEST_HEAD = 256
BY_GENERATION = {9: ("FA3", "FA4"), 10: ("FA4",)}  # of a device: what PyTorch may switch to


def calls_package(query: Tensor, value: Tensor, *, plain: bool) -> bool:
    """Say whether the package flash_attn is to be called, and not PyTorch's attention.

    Args:
        query: on CUDA.
        value: beside it.
        plain: whether all keys before a query are seen, and scores are no more than scaled.
    """
    if query.dtype not in (torch.float16, torch.bfloat16):
        return False
    if not query.shape[-1] == value.shape[-1] <= LONGEST_HEAD:
        return False
    if plain and switched(torch.cuda.get_device_capability(query.device)[0]):
        return False
    return is_installed()


@functools.cache
def switched(generation: int) -> str | None:
    """Have PyTorch's attention compute with the newest kernels for a device, once a process.

    Args:
        generation: the first number of its compute capability.

    Returns:
        Their name; None where none are installed, or PyTorch has no such switch.
    """
    switch: Any = getattr(attention, "activate_flash_attention_impl", None)
    for name in BY_GENERATION.get(generation, ()) if switch else ():
        try:
            switch(name)
        except (ImportError, RuntimeError, ValueError):  # not there, or not of this version
            continue
        return name
    return None


@functools.cache
def is_installed() -> bool:
    """Say whether the package flash_attn is there."""
    return importlib.util.find_spec("flash_attn") is not None
