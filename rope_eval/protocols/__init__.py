"""What a column is: prompts, data sets, documents, rules and truncation, as data."""
