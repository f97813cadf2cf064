"""How the grid's checkpoints are measured: text and probes ──► scores ──► the store."""
