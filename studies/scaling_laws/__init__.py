"""The laboratory: a grid of small byte-level Llamas on which the paper's laws are measured.

One model is pre-trained at 128 tokens with base 10000, and the others are tuned from it, each with
a base and a length of its own, as in arXiv 2310.05209, Appendix B.1: AdamW without weight decay,
constant learning rate, no warm-up. The text is the standard library's own sources, so the lab can
be remade from a seed on any machine.

Data flows one way::

    recipes, grids ──► windows (text, retrieval_text) ──► training ──► checkpoints, tuning
    grids ──► measurements ──► measuring (evaluation, probe, protocol) ──► the store
"""

from rope_eval.tuning.recipes import Recipe
from studies.scaling_laws.checkpoints import make_checkpoint
from studies.scaling_laws.grids import GRIDS, SHIPPED
from studies.scaling_laws.model import BOUNDARY, BOUNDARY_ID, build_model, build_tokenizer
from studies.scaling_laws.text import TrainingText, training_text

__all__ = [
    "BOUNDARY",
    "BOUNDARY_ID",
    "GRIDS",
    "SHIPPED",
    "Recipe",
    "TrainingText",
    "build_model",
    "build_tokenizer",
    "make_checkpoint",
    "training_text",
]
