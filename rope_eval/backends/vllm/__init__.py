"""vLLM engines under a RopeSpec: a plug-in, its tables and its requests."""
