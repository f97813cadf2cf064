"""The evaluation harnesses that run our models and tasks: thin, and never each other."""
