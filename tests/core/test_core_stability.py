"""Deprecated names, experimental ones, and what importing the package loads."""

import subprocess
import sys
import warnings

import pytest

import autotune
from autotune.core.deprecation import warn_deprecated


def test_a_deprecated_word_goes_on_and_says_what_to_write_and_until_when():
    with pytest.warns(DeprecationWarning, match="deprecated") as caught:
        parameter = autotune.Int("batch", 1, 8, restart="engine")
    said = "restart='engine' is deprecated since autotune 0.1 and goes with 0.3: use restart='system'"
    assert [str(warning.message) for warning in caught] == [said]
    assert caught[0].filename == __file__  # the line that wrote it
    assert parameter.restart == "system"
    entry = {"batch": {"type": "int", "low": 1, "high": 8, "restart": "engine"}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # files and ledgers keep their words
        assert autotune.Space.from_dict(entry)["batch"] == parameter


def test_a_deprecated_name_is_kept_for_two_minor_releases():
    with pytest.warns(DeprecationWarning, match=r"since autotune 1\.9 and goes with 1\.11"):
        warn_deprecated("old", "new", "1.9")


def test_each_experimental_name_warns_once():
    code = (
        "import warnings, autotune\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    for name in dir(autotune.experimental) * 2:\n"
        "        getattr(autotune.experimental, name)\n"
        "kind = autotune.experimental.ExperimentalWarning\n"
        "said = sorted(str(each.message) for each in caught if each.category is kind)\n"
        "names = sorted(set(dir(autotune.experimental)) - {'ExperimentalWarning'})\n"
        "assert said == [f'autotune.experimental.{n} may change in any release' for n in names], said\n"
        "assert len(names) > 3\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = autotune.experimental.nothing


def test_every_public_name_is_there_and_importing_loads_none_of_them():
    code = (
        "import sys, autotune\n"
        "loaded = {m for m in sys.modules if m.startswith('autotune.')}\n"
        "assert loaded <= {f'autotune.core{m}' for m in ('', '.version', '.front_doors')}, loaded\n"
        "assert 'numpy' not in sys.modules\n"
        "found = {name: getattr(autotune, name) for name in autotune.__all__}\n"
        "assert autotune.plot.progress.__name__ == 'progress'\n"
        "assert not {'torch', 'plotly', 'mlflow', 'ray'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = autotune.nothing
    assert {"Study", "plot", "experimental"} <= set(dir(autotune))


def test_an_attribute_that_was_renamed_goes_on_with_a_warning():
    space = autotune.Space.from_dict({"batch": {"type": "int", "low": 1, "high": 8}})
    with pytest.warns(
        DeprecationWarning, match=r"Space.elimination is deprecated .* use Space.constraint_graph"
    ):
        assert space.elimination is space.constraint_graph
