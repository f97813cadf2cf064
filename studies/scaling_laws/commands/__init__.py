"""The verbs of `rope-eval lab`."""
