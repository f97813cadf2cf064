"""One host each, thin, and never each other."""
