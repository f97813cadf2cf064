"""A hook of mkdocs: a link that leaves docs/ becomes a path in the repository."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+(?!docs/)[^)#]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Put the path in the repository in the place of a link that leaves the site."""
    depth = page.file.src_uri.count("/")

    def named(link: re.Match[str]) -> str:
        target = link[2]
        if target.count("../") <= depth:
            return link[0]
        return f"{link[1]} (`{target.replace('../', '')}` in the repository)"

    return _OUTSIDE.sub(named, markdown)
