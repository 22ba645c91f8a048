"""The pages beside `docs/` as pages of the site, with the links of both as they are on disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
BESIDE = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "NOTICE", "LICENSE")


NOTEBOOK = "tutorial.ipynb"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the checkout's root, texts without a suffix as plain text, and the notebook."""
    page = NOTEBOOK.replace(".ipynb", ".md")
    files.append(File.generated(config, page, content=_read_notebook(ROOT / "docs" / NOTEBOOK)))
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


def _read_notebook(path: Path) -> str:
    """Its cells one after the other; a link to the notebook itself on top."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    shown = [
        f"```python\n{text}\n```" if cell["cell_type"] == "code" else text
        for cell, text in zip(cells, texts, strict=True)
    ]
    title, *rest = shown
    return "\n\n".join([title, f"[The notebook itself]({path.name})", *rest]) + "\n"


def _page(name: str) -> str:
    if name == "README.md":  # which would be the index
        return "overview.md"
    return name if name.endswith(".md") else f"{name}.md"
