"""What a command line tells OpenCompass's processes: names in their environment."""

from __future__ import annotations

BOOKS = "ROPE_EVAL_BOOKS"
DATA_DIR = "ROPE_EVAL_DATA_DIR"
LENGTHS = "ROPE_EVAL_LENGTHS"
RESULTS = "ROPE_EVAL_RESULTS"
TRUNCATION = "ROPE_EVAL_TRUNCATION"
