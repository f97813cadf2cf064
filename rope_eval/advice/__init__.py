"""What to do for a longer context: bases, tuning, methods without it, and a plan that checks it.

::

    a checkpoint's facts, a target ──► advice ──► words
                                          └─────► plan_file
"""
