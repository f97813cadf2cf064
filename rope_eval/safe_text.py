"""Text that others wrote, made fit to be shown and kept: no escapes, no formulas, no secrets.

A model's folder, a book's title, a task of an imported file: their names are a stranger's words.
"""

from __future__ import annotations

import re
from typing import Any

_SECRETS = (  # what is kept of a secret, and the rest
    re.compile(r"(hf_|api_org_)[A-Za-z0-9]{20,}"),  # Hugging Face
    re.compile(r"\b(sk-)[A-Za-z0-9_-]{20,}"),  # OpenAI, Anthropic
    re.compile(r"(gh[pousr]_|github_pat_)[A-Za-z0-9_]{20,}"),  # GitHub
    re.compile(r"\b(glpat-)[A-Za-z0-9_-]{20,}"),  # GitLab
    re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),  # AWS
    re.compile(r"\b(AIza)[A-Za-z0-9_-]{35}"),  # Google
    re.compile(r"\b(xox[a-z]-)[A-Za-z0-9-]{10,}"),  # Slack
    re.compile(r"\b(Bearer\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE),
    re.compile(r"(://)[^/\s\"']*:[^/\s\"']*(?=@)"),  # user:password@ of a URL
)
_WHOSE = "hf|hub|auth|access|api|refresh|session|bearer|github|gitlab|huggingface|wandb|slack"
_NAMES = (  # pad_token and its like are no secrets
    rf"(?:token|(?:[a-z0-9]+[_-])*(?:(?:{_WHOSE})[_-]?token|(?:api|access|private)[_-]?key|secret"
    r"|password|passwd|credentials?))"
)
_NAME = re.compile(_NAMES, re.IGNORECASE)
_GIVEN = re.compile(  # name=value, "name": value and --name value
    rf"((?<![a-z0-9_])(?<![a-z0-9]-){_NAMES}(?:\s*=\s*|[\"']\s*:\s*)|--{_NAMES}\s+)"
    r"(\"[^\"]*\"|'[^']*'|[^\s,;&\"'{}()\[\]]+)",
    re.IGNORECASE,
)
_NO_SECRET = re.compile(r"(?:true|false|none|null|.*\*\*\*)", re.IGNORECASE)
_HIDDEN = "***"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def shown(text: object) -> str:
    r"""Return a text on one line, its control and other invisible characters written out.

    >>> print(shown("a\x1b[31mb\nc\u202ed é"))
    a\x1b[31mb\nc\u202ed é
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )


def shown_lines(text: str) -> str:
    """Return the same of a text whose own lines stay."""
    return "\n".join(map(shown, text.split("\n")))


def for_spreadsheet(text: str) -> str:
    """Return a cell of CSV that no spreadsheet takes for a formula: such a text has ' before it.

    >>> for_spreadsheet("=1+1"), for_spreadsheet(" @x"), for_spreadsheet("a=1")
    ("'=1+1", "' @x", 'a=1')
    """
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def masked(text: str) -> str:
    """Return a text without tokens and passwords, known by their form or by what they are called.

    >>> masked("token=sk-0123456789abcdefghij,url=https://me:secret@host/x,api_key=abc")
    'token=sk-***,url=https://***@host/x,api_key=***'
    """
    for secret in _SECRETS:
        text = secret.sub(rf"\1{_HIDDEN}", text)
    return _GIVEN.sub(_mask_given, text)


def masked_values(value: Any, name: str = "") -> Any:
    """Return plain JSON values with every text in them `masked`, names and values alike.

    Args:
        value: the values.
        name: what they are the value of.
    """
    if isinstance(value, dict):
        return {masked(str(key)): masked_values(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked_values(item, name) for item in value]
    if not isinstance(value, str):
        return value
    shy = masked(value)
    return _HIDDEN if _NAME.fullmatch(name) and shy and not _NO_SECRET.fullmatch(shy) else shy


def masked_words(words: list[str]) -> list[str]:
    """Return the words of a command line, `masked`; the word after --token is one too."""
    shy: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        is_value = before.startswith("--") and not word.startswith("-")
        shy.append(masked_values(word, before[2:] if is_value else ""))
    return shy


def _mask_given(match: re.Match[str]) -> str:
    value = match[2]
    if _NO_SECRET.fullmatch(value.strip("\"'")):
        return match[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{match[1]}{quote}{_HIDDEN}{quote}"
