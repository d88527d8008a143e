"""Hooks of MkDocs: pages that live elsewhere in the repository, links between them, nothing from a network.

A page's links are written as the repository has them, so that they work where the file is read by itself;
here they become links of the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
BORROWED = {
    "search_spaces/README.md": "search-spaces.md",
    "objectives/README.md": "objectives.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/load/README.md": "load-clients.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the site by the file that they are."""

FOLDERS = {"examples": "examples.md"}
"""Pages of the site that show what a folder holds."""

_ORIGIN = {page: path for path, page in BORROWED.items()}
_ROLE = re.compile(r":[a-z]+:<code>[~.]?([\w.]+)</code>")
_LINK = re.compile(r"(!?)\[([^\]\[]*(?:\[[^\]]*\][^\]\[]*)*)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Leave out what a browser would load from elsewhere."""
    config.extra["polyfills"] = []  # the offline plugin's is on a public server
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere in the repository."""
    for path, page in BORROWED.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show a docstring's reference, ``:class:`~package.Name```, as the name."""
    return _ROLE.sub(lambda match: f"<code>{match[1].rpartition('.')[2]}</code>", html)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository into links of the site."""
    here = page.file.src_uri
    origin = _ORIGIN.get(here, f"docs/{here}")

    def site_link(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match[0]
        full = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
        if not (ROOT / full).exists():
            return match[0]  # MkDocs says that it is broken
        goal = BORROWED.get(full) or FOLDERS.get(full) or FOLDERS.get(posixpath.dirname(full))
        if goal and full.startswith("examples/"):
            hash_, anchor = "#", posixpath.basename(full).replace(".", "")
        if goal is None and full.startswith("docs/"):
            goal = full.removeprefix("docs/")
        if goal is None:  # a file of the repository that is no page
            return f"`{full}`" if text.strip("`") in (full, path) else f"{text} (`{full}`)"
        relative = posixpath.relpath(goal, posixpath.dirname(here) or ".")
        return f"{mark}[{text}]({relative}{hash_}{anchor})"

    parts = re.split(r"(^```.*?^```)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if i % 2 else _LINK.sub(site_link, part) for i, part in enumerate(parts))
