"""Curves of perplexity by length that others published, held against the laws.

::

    CSV ──► file ──► reading (where the context is lost) ─┐
    how the model was trained ──► trained (the laws) ─────┴─► table
"""
