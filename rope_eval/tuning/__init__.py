"""Fine-tune a model by the recipe of arXiv 2310.05209, B.1.

::

    presets ──► recipe ──► arguments ──► training ──► checkpoint
    any text ──► text (windows) ────────────┘
"""
