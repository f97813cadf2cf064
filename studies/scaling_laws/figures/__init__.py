"""The laboratory's figures. Each function takes numbers and returns a Figure."""
