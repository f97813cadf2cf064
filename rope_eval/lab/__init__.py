"""The embedded lab: five tiny byte-level Llamas on which the paper's laws can be seen.

One model is pre-trained at 128 tokens with base 10000, and four are tuned from it at the same
length with another base each, as in arXiv 2310.05209, Appendix B.1: AdamW without weight decay,
constant learning rate, no warm-up. The text is the standard library's own sources, so the lab can
be remade from a seed on any machine.

Data flows one way: ``text`` and ``model`` into ``training``.
"""

from rope_eval.lab.model import BOUNDARY, BOUNDARY_ID, build_model, build_tokenizer
from rope_eval.lab.text import TrainingText, training_text
from rope_eval.lab.training import RECIPES, Recipe, make_checkpoint, train

__all__ = [
    "BOUNDARY",
    "BOUNDARY_ID",
    "RECIPES",
    "Recipe",
    "TrainingText",
    "build_model",
    "build_tokenizer",
    "make_checkpoint",
    "train",
    "training_text",
]
