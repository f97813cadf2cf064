"""What was measured: the store, and how a result came about."""
