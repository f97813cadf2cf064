"""Hugging Face models under a RopeSpec: anatomy, loading, patch, attention."""
