"""A pytest plug-in: run the engine on vLLM's second model runner, without a GPU.

That runner's kernels are Triton's. Triton's interpreter runs them on CPU tensors, and is slow; vLLM
asks for a CPU backend before it tries, so one is named.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

TRITON = Path(sys.prefix, "triton")  # beside the environment's packages: torch must not see it

os.environ |= {"TRITON_INTERPRET": "1", "VLLM_USE_V2_MODEL_RUNNER": "1"}
sys.path.insert(0, str(TRITON))

from triton.backends import backends  # noqa: E402

backends.clear()
backends["cpu"] = SimpleNamespace(driver=SimpleNamespace(is_active=lambda: True), compiler=None)
