"""The claims of the papers, one a module, each with its numbers, its verdict and its figures.

Each module's ``find`` takes a `Laboratory` and returns a `Finding`.
"""
