"""The figures of a report as pages of their own: an artifact viewer shows one beside the list of files.

MLflow shows a page in a frame that may run scripts and reach nothing, so each page carries the library that
draws it, packed: 2 MB. The figures that people ask for are pages; the report has all.
"""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

PLOTS = "plots"
"""Folder of the pages in the run of a study."""

SHOWN = (
    "comparison",
    "progress",
    "pareto_front",
    "throughput_latency",
    "importance",
    "effects",
    "pair",
    "failures",
)
"""Figures that are pages, by their names in :mod:`autotune.plot`; the first of several of a name."""

_FIGURE = re.compile(r"<figure[^>]*>(.*?)</figure>", re.DOTALL)
_ID = re.compile(r' id="figure-\d+-(\w+)"')
_DATA = re.compile(r'<script type="application/json"[^>]*>(.*?)</script>', re.DOTALL)
_SAID = re.compile(r'aria-label="([^"]*)" style="height: (\d+)px"')
_LIBRARY = re.compile(r"<script>(.*?)</script>", re.DOTALL)

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' blob:;\
 style-src 'unsafe-inline'; img-src data: blob:">
<style>body {{ margin: 1rem; font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff }}</style>
<div id="plot" style="height: {height}px"></div>
<p>{said}</p>
<script type="application/json" id="data">{data}</script>
<script type="text/plain" id="library">{library}</script>
<script>
(async () => {{
  const text = (id) => document.getElementById(id).textContent;
  const packed = Uint8Array.from(atob(text('library')), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  const script = document.createElement('script');
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  const {{ data, layout }} = JSON.parse(text('data'));
  await Plotly.newPlot('plot', data, layout, {{ responsive: true, displaylogo: false }});
}})();
</script>
</html>
"""


def plot_pages(report: Path) -> Iterator[tuple[str, str]]:
    """Yield name and page of each figure that a report of :mod:`autotune.report.html` draws.

    What stands in such a report is harmless in a page already, and a secret in it is masked.

    Args:
        report: Path of the report; a file that is none yields nothing.
    """
    page = report.read_text(encoding="utf-8", errors="replace")
    drawn: set[str] = set()
    for figure in _FIGURE.findall(page):
        name, data, said = _ID.search(figure), _DATA.search(figure), _SAID.search(figure)
        if name and data and said and name[1] in SHOWN and name[1] not in drawn:
            drawn.add(name[1])
            library = _packed(max(_LIBRARY.findall(page), key=len))
            text = _PAGE.format(height=said[2], said=said[1], data=data[1], library=library)
            yield name[1].replace("_", "-"), text


@lru_cache(maxsize=1)
def _packed(library: str) -> str:
    return base64.b64encode(gzip.compress(library.encode("utf-8", "surrogatepass"), 9, mtime=0)).decode()
