"""A notebook in a kernel of its own: what its cells show, and what the progress of a search leaves."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "examples" / "notebook.ipynb"
PLOTLY = "application/vnd.plotly.v1+json"


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The code cells of the example, run by a real kernel, in order."""
    pytest.importorskip("ipykernel", reason="there is no ipykernel here")
    nbclient = pytest.importorskip("nbclient", reason="there is no nbclient here")
    import nbformat

    folder = tmp_path_factory.mktemp("notebook")
    found = nbformat.reads(NOTEBOOK.read_text(encoding="utf-8"), as_version=4)
    nbclient.NotebookClient(
        found, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    assert list(folder.iterdir()) == [], "it leaves nothing behind"
    return [cell for cell in found.cells if cell.cell_type == "code"]


def cell_with(cells, text):
    return next(cell for cell in cells if text in cell.source)


def mimes(cell):
    return {mime for output in cell.outputs for mime in output.get("data", {})}


def test_progress_is_one_output_that_ends_with_the_verdict(cells):
    (shown,) = cell_with(cells, "study = tune(").outputs
    assert shown.output_type == "display_data"
    text = shown.data["text/html"]
    assert text.startswith("<pre")
    assert text.count("\n") < 60
    assert "\x1b" not in text
    assert "15/15" in text
    assert "verdict" in text


def test_nothing_is_said_on_standard_error(cells):
    assert [o for cell in cells for o in cell.outputs if o.output_type in ("stream", "error")] == []


@pytest.mark.parametrize("last", ["study.result", "study", "space"])
def test_a_value_shows_itself_as_a_table(cells, last):
    cell = next(cell for cell in cells if cell.source.splitlines()[-1] == last)
    (shown,) = cell.outputs
    assert "<table" in shown.data["text/html"]
    assert "\x1b" not in shown.data["text/html"]


@pytest.mark.parametrize("name", ["progress", "importance", "effects"])
def test_a_figure_is_drawn_by_the_notebook(cells, name):
    cell = cell_with(cells, f"plot.{name}(study)")
    assert mimes(cell) & {PLOTLY, "text/html"}
    figures = [output.data[PLOTLY] for output in cell.outputs if PLOTLY in output.get("data", {})]
    assert figures
    assert figures[0]["data"]
    assert figures[0]["layout"]["title"]["text"]


def test_the_example_is_kept_without_outputs():
    data = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert [
        cell["outputs"] for cell in data["cells"] if cell["cell_type"] == "code" and cell["outputs"]
    ] == []
