"""The laws of arXiv 2310.05209, measured on a grid of small byte-level Llamas.

One model is pre-trained at 128 tokens with base 10000, and the others are tuned from it, each with
a base and a length of its own, as in the paper's Appendix B.1. Data flows one way::

    recipes/        grids, text ──► windows ──► training ──► checkpoints
    held_out        pieces of text that they are not trained on
    plan.yaml       checkpoints × settings × measurements ──► a store, by `rope-eval run`
    measured        runs, by the study's names ──► a few tables
    reading         tables ──► a laboratory ──► what the paper claims, beside it

The other arrows are verbs of ``rope-eval lab``, in ``commands/``. README.md says how to do it all
again.
"""
