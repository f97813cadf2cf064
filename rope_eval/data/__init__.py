"""What is scored: books, and texts with a needle in them."""
