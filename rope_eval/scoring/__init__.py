"""From tokens to scores: whole documents, many texts, attention by distance."""
