"""What is known of a method beside the code of those who proposed it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """A run of the authors' code and of ours on the same weights.

    Attributes:
        code: the repository on GitHub, and the file.
        commit: the first digits of what was run.
        ran: what of it ran, and what was changed for that.
        settings: what it computes, as fields of `RopeSpec` for a checkpoint of 32 tokens;
            tests/rope/methods/test_authors.py has numbers of it for each.
        off: the largest difference of a log-probability under these, in nats.
        readings: where it reads otherwise than a paper, than itself or than ours, by how many
            nats, and which reading is ours.
    """

    code: str
    commit: str
    ran: str
    settings: tuple[str, ...]
    off: float
    readings: str = "none"
