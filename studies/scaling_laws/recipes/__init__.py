"""How the grid's checkpoints are made: recipes ──► windows of text ──► training ──► checkpoints."""
