"""The laws of arXiv 2310.05209, measured on a grid of small byte-level Llamas.

One model is pre-trained at 128 tokens with base 10000, and the others are tuned from it, each with
a base and a length of its own, as in the paper's Appendix B.1. Data flows one way::

    recipes/        grids, text ──► windows ──► training ──► checkpoints
    measurements    what is asked of them: kinds, methods, sets
    measuring/      checkpoints, held-out text, probes ──► scores ──► a store of runs
    tables          runs ──► a few tables
    reading         runs or tables ──► a laboratory ──► what the paper claims, beside it

Each arrow is a verb of ``rope-eval lab``, in ``commands/``. README.md says how to do it all again.
"""
