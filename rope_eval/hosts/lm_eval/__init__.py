"""lm-eval: models, request types and tasks."""
