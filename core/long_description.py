"""A metadata hook: the README as a package index shows it, where a relative link leads nowhere."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class LongDescription(MetadataHookInterface):
    """Makes the long description."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add it."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        source, tag = metadata["urls"]["Source"], f"v{metadata['version']}"
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": with_absolute_links(text, source, tag),
        }


def with_absolute_links(text: str, source: str, tag: str) -> str:
    """The same Markdown, whose links lead to the files of that tag, and pictures to their content.

    `source` is the repository's URL at GitHub.
    """
    pictures = source.replace("://github.com/", "://raw.githubusercontent.com/")
    text = re.sub(r"(!\[[^\]]*\]\()(?!\w+:|#)", rf"\1{pictures}/{tag}/", text)
    text = re.sub(r'(src(?:set)?=")(?!\w+:)', rf"\1{pictures}/{tag}/", text)
    return re.sub(r"(?<!!)(\[[^\]]*\]\()(?!\w+:|#)", rf"\1{source}/blob/{tag}/", text)
