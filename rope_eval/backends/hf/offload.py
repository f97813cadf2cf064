"""Weights that stay in the checkpoint's files: a decoder layer's are read in its turn.

transformers and accelerate leave weights in their safetensors files, and read each where its module
runs (`disk offload`). That would read a layer once a chunk, while nothing is computed. So while a
layer has its turn its weights are held, and those of the next are read meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from rope_eval.errors import UnsupportedModelError

FILES = "disk"  # accelerate's word


def offloading_map(
    config: PreTrainedConfig, device: torch.device, *, trust_remote_code: bool = False
) -> dict[str, str]:
    """Return the device_map that leaves decoder layers in their files, and all else on a device.

    Raises:
        UnsupportedModelError: for a model without a list of layers.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    lists = {name: m for name, m in model.named_modules() if isinstance(m, nn.ModuleList)}
    if not lists:
        raise UnsupportedModelError(
            f"this {config.model_type} model has no list of decoder layers: --offload cannot read "
            "them in turn"
        )
    layers = max(lists, key=lambda name: sum(x.numel() for x in lists[name].parameters()))
    return dict(_places(model, "", layers, str(device)))


def _places(module: nn.Module, name: str, layers: str, device: str) -> Iterator[tuple[str, str]]:
    prefix = f"{name}." if name else ""
    for own, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        yield prefix + own, device
    for child_name, child in module.named_children():
        full = prefix + child_name
        if full == layers:
            yield full, FILES
        elif layers.startswith(f"{full}."):
            yield from _places(child, full, layers, device)
        else:
            yield full, device


def held_bytes(model: PreTrainedModel) -> int:
    """Return the bytes of weights that are held at a time: two layers' where files have the rest.

    Tied weights count once.
    """
    tensors = (*model.parameters(), *model.buffers())
    held = sum(x.nbytes for x in tensors if not x.is_meta)
    layers = [
        sum(x.numel() * x.element_size() for x in block.parameters() if x.is_meta)
        for module in model.modules()
        if isinstance(module, nn.ModuleList)
        for block in module
    ]
    return held + 2 * max(layers, default=0)


@contextmanager
def in_turn(blocks: Sequence[nn.Module]) -> Iterator[Callable[[int], None]]:
    """Give what is called with a decoder layer's place before its turn.

    Its weights are held until the next turn, as those of the layer after it are read. For a model
    that is all in memory it does nothing.
    """
    if not any(_offloads(block) for block in blocks):
        yield lambda place: None
        return
    held: list[_Weights] = []
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="weights") as reader:
        coming: list[Future[list[_Weights]]] = []

        def turn(place: int) -> None:
            _let_go(held)
            read = coming.pop() if coming else reader.submit(_read, blocks[place])
            held.extend(read.result())
            for weights in held:
                weights.hook.weights_map = weights.tensors
            if place + 1 < len(blocks):
                coming.append(reader.submit(_read, blocks[place + 1]))

        try:
            yield turn
        finally:
            _let_go(held)


@dataclass(frozen=True, slots=True)
class _Weights:
    """The weights of one module, read; and what its hook reads them from otherwise."""

    hook: Any
    files: Mapping[str, Tensor]
    tensors: dict[str, Tensor]


def _read(block: nn.Module) -> list[_Weights]:
    return [
        _Weights(hook, hook.weights_map, {name: _copied(hook, name) for name in names})
        for hook, names in _offloads(block)
    ]


def _copied(hook: Any, name: str) -> Tensor:
    """Read a weight whole: a file's tensor is mapped, and read when it is first used."""
    mapped: Tensor = hook.weights_map[name]
    return mapped.to(hook.execution_device, copy=True)


def _let_go(held: list[_Weights]) -> None:
    for weights in held:
        weights.hook.weights_map = weights.files
    held.clear()


def _offloads(block: nn.Module) -> list[tuple[Any, list[str]]]:
    """Return the hooks that read weights for modules of a block, and the names of these."""
    from accelerate.utils import named_module_tensors

    found = []
    for module in block.modules():
        hook = getattr(module, "_hf_hook", None)
        for one in getattr(hook, "hooks", (hook,)):
            if one is not None and getattr(one, "offload", False):
                tensors = named_module_tensors(
                    module,
                    include_buffers=one.offload_buffers,
                    recurse=one.place_submodules,
                    remove_non_persistent=True,
                )
                found.append((one, [name for name, _ in tensors]))
    return found
