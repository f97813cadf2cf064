"""Studies: each a plan and its claims, made with the library."""
