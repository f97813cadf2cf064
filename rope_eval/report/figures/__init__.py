"""Figures of what was measured, as functions of plain numbers that return a matplotlib Figure.

==============  ================================================================================
curves          perplexity against length, a line a model (Fig. 1 of arXiv 2310.05209)
panels          scores against length in rows and columns: bases, methods (Figs. 2, 3, 8, 11)
heatmaps        base by length (Fig. 4), and a needle's depth by length
periods         periods of the pairs against the training length (Fig. 5)
attention       attention scores by relative position (Figs. 6, 8, 10)
contexts        measured max contexts against the bound (Fig. 7) and the base (Fig. 9)
bases           perplexity against the base, with the pivots (Theorem 1)
retrieval       up to where B(m) ≥ 0, retrieval and perplexity hold (arXiv 2405.14591)
drawn           figures of any runs, of the data of `rope_eval.report.series`
style           size, colours for the colour-blind, axes, saving: what all of them share
==============  ================================================================================
"""
