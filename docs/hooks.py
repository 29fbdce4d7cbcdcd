"""Insert help texts and example files into the pages when the documentation is built, and link notebooks to pages."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any
from unittest import mock

from shortcut_models.cli import main

ROOT = Path(__file__).parents[1]


def help_text(words: list[str]) -> str:
    """Return the output of `shortcut WORDS --help` on a terminal of 100 columns."""
    said = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS="100"), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        if main([*words, "--help"]):
            raise ValueError(f"there is no command: shortcut {' '.join(words)}")
    return said.getvalue()


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the line `{{ help: WORDS }}` by the help text of `shortcut WORDS`, and `{{ file: PATH }}` by the file."""

    def block(found: re.Match[str]) -> str:
        kind, what = found.groups()
        if kind == "help":
            return f"```text\n{help_text(what.split())}```"
        return f'```python title="{what}"\n{(ROOT / what).read_text()}```'

    return re.sub(r"^\{\{ (help|file): ?(.*?) ?\}\}$", block, markdown, flags=re.MULTILINE)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Let the links of a notebook lead to pages of the site: mkdocs-jupyter leaves those to files as they are."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html

    def link(found: re.Match[str]) -> str:
        folder, name, anchor = found.groups("")
        return f'href="../{folder}{"" if name == "index" else name + "/"}{anchor}"'

    return re.sub(r'href="((?:\.\./)*)([\w-]+)\.(?:md|ipynb)(#[\w-]+)?"', link, html)
