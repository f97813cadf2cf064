"""Applying a RopeSpec to something that runs."""
