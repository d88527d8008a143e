"""Labels of studies of several ledgers."""

from pathlib import Path

import pytest

from autotune.core.study_labels import study_label, study_labels


@pytest.mark.parametrize(
    ("places", "labels"),
    [
        (["/r/autotune-runs:a", "/r/autotune-runs:b"], ["a", "b"]),
        (["/r/a/ledger.sqlite:chat", "/r/b:chat", "/r/b:other"], ["a:chat", "b:chat", "other"]),
        (["/r/a/autotune-runs:chat", "/r/b/autotune-runs/ledger.sqlite:chat"], ["a:chat", "b:chat"]),
        (["/r/ledger.sqlite:chat", "/r/old/ledger.sqlite:chat"], ["chat", "old:chat"]),
        (["/r/x.sqlite:chat", "/r/y.sqlite:chat"], ["x.sqlite:chat", "y.sqlite:chat"]),
        (["/r/a:chat", "/r/a:chat", "/r/b:chat"], ["a:chat", "a:chat (2)", "b:chat"]),
        (["/r/a/x/s:chat", "/r/a/y/s:chat", "/r/b/x/s:chat"], ["a/x:chat", "a/y:chat", "b/x:chat"]),
    ],
)
def test_labels_are_what_tells_studies_apart(places, labels):
    pairs = [(Path(path), name) for path, _, name in (place.rpartition(":") for place in places)]
    assert study_labels(pairs) == labels


def test_long_folders_are_cut_and_stay_apart():
    folders = [f"/r/{'deep/' * 9}{day}/of_the_same_long_name_for_all_of_them" for day in (1, 2)]
    folders.append("/r/elsewhere")
    labels = study_labels([(Path(folder), "chat") for folder in folders])
    assert len(set(labels)) == 3
    assert max(len(label) for label in labels) <= 30


def test_a_study_alone_has_its_folder_where_it_is_not_in_the_usual_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert study_label(tmp_path / "autotune-runs" / "ledger.sqlite", "chat") == "chat"
    assert study_label("autotune-runs", "chat") == "chat"
    assert study_label("nightly/autotune-runs/ledger.sqlite", "chat") == "nightly:chat"
    assert study_label("nightly", "chat") != study_label("weekly", "chat")
