"""Hooks of MkDocs: pages that live elsewhere in the repository, links between them, nothing from a network.

A page's links are written as the repository has them, so that they work where the file is read by itself;
here they become links of the site.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / ".ci"))

import docs_pages  # noqa: E402 - found through the path above

BORROWED = {
    "search_spaces/README.md": "search-spaces.md",
    "objectives/README.md": "objectives.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/load/README.md": "load-clients.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the site by the file that they are."""

SHOWN = {"examples": "examples.md", "autotune/__init__.py": "reference.md"}
"""Pages of the site that show what lies there."""

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
    for page, made in docs_pages.BUILT.items():
        files.append(File.generated(config, page, content=made()))
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
        goal = BORROWED.get(full) or SHOWN.get(full) or SHOWN.get(posixpath.dirname(full))
        if full.startswith("examples/"):
            hash_, anchor = "#", posixpath.basename(full).replace(".", "")
        if goal is None and full.startswith("docs/"):
            goal = full.removeprefix("docs/")
        if goal is None:  # a file of the repository that is no page
            return f"`{full}`" if text.strip("`") in (full, path) else f"{text} (`{full}`)"
        relative = posixpath.relpath(goal, posixpath.dirname(here) or ".")
        return f"{mark}[{text}]({relative}{hash_}{anchor})"

    parts = re.split(r"(^```.*?^```)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if i % 2 else _LINK.sub(site_link, part) for i, part in enumerate(parts))
