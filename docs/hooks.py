"""The pages beside `docs/` as pages of the site, with the links of both as they are on disk."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
BESIDE = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "NOTICE", "LICENSE")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the checkout's root; texts without a suffix become pages of plain text."""
    for name in BESIDE:
        text = (ROOT / name).read_text(encoding="utf-8")
        content = text if name.endswith(".md") else f"# {name}\n\n```text\n{text}```\n"
        files.append(File.generated(config, _page(name), content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links go where the pages are on the site: all side by side."""
    if page.file.src_uri in map(_page, BESIDE):
        markdown = re.sub(r"\]\(docs/([^)]*)\)", lambda match: f"]({match[1] or 'index.md'})", markdown)
        names = "|".join(map(re.escape, BESIDE))
        return re.sub(rf"\]\(({names})([#)])", lambda match: f"]({_page(match[1])}{match[2]}", markdown)
    return re.sub(r"\]\(\.\./([\w.]+)([#)])", lambda match: f"]({_page(match[1])}{match[2]}", markdown)


def _page(name: str) -> str:
    if name == "README.md":  # which would be the index
        return "overview.md"
    return name if name.endswith(".md") else f"{name}.md"
