"""The reliability table itself: what a test records reaches its page, and nothing else does."""

import os
import subprocess
import sys
from pathlib import Path

import reliability

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def test_rows_become_tables_and_odd_text_stays_in_its_cell():
    rows = [
        reliability.Row("B", "kill -9 | head", "P3", "x < 1\nagain"),
        reliability.Row("A", "one", "P1", "0 lost"),
        reliability.Row("B", "two", "P2", "c:\\d"),
    ]
    text = reliability.page(rows)
    assert text.index("## A") < text.index("## B")
    assert "| kill -9 \\| head | P3 | x &lt; 1 again |" in text
    assert "| two | P2 | c:\\\\d |" in text
    assert text.startswith("# Reliability\n")
    assert "3 injections" in text


def run(tmp_path, body, *options):
    """Run one recording test in a session of its own; return the page it wrote, or ``None``."""
    (tmp_path / "conftest.py").write_text((HERE / "conftest.py").read_text())
    (tmp_path / "reliability.py").write_text((HERE / "reliability.py").read_text())
    (tmp_path / "test_one.py").write_text(
        f'"""One group: of many."""\n\n\ndef test_it(record):\n    {body}\n'
    )
    ini = "[pytest]\nmarkers =\n  faults: x\n"
    (tmp_path / "pytest.ini").write_text(ini)
    page = tmp_path / "page.md"
    argv = [sys.executable, "-m", "pytest", "-q", "-m", "faults", "-p", "no:cacheprovider", *options]
    subprocess.run(
        [*argv, str(tmp_path)],
        cwd=tmp_path, env={**os.environ, "AUTOTUNE_RELIABILITY": str(page)}, check=False, capture_output=True,
    )  # fmt: skip
    return page.read_text() if page.exists() else None


def test_a_run_without_failures_writes_the_page_and_one_with_leaves_it(tmp_path):
    page = run(tmp_path, 'record("a cut", "P7", "noticed")')
    assert "## One group\n" in page
    assert "| a cut | P7 | noticed |" in page
    assert run(tmp_path, 'record("a lie", "P7", "silent"); raise ValueError') == page


def test_rows_of_parallel_workers_reach_the_page(tmp_path):
    assert "| a cut | P7 | noticed |" in run(tmp_path, 'record("a cut", "P7", "noticed")', "-n2")


def test_the_page_is_there_and_the_readme_links_it():
    assert (ROOT / "docs" / "reliability.md").read_text().startswith("# Reliability\n")
    assert "](docs/reliability.md)" in (ROOT / "README.md").read_text()
