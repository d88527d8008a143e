"""Scripts of interpreters: found in the words of a command, and missed before anything is launched."""

import pytest

from autotune.errors import EnvironmentProblem
from autotune.systems.interpreters import check_script, script_of
from autotune.systems.registry import build_system


@pytest.mark.parametrize(
    ("words", "script"),
    [
        ("python a.py --x 1", "a.py"),
        ("/usr/bin/python3.12 -u -X dev -W error a.py", "a.py"),
        ("{python} a.py", "a.py"),
        ("python -m module a.py", ""),
        ("python -uc code a.py", ""),
        ("python", ""),
        ("python - a.py", ""),
        ("sh a.sh", "a.sh"),
        ("bash -eu -o pipefail a.sh", "a.sh"),
        ("bash -ec a.sh", ""),
        ("bash -- a.sh", "a.sh"),
        ("node --require x a.js", "a.js"),
        ("node -e a.js", ""),
        ("perl -w a.pl", "a.pl"),
        ("env python a.py", ""),
        ("./bench a.py", ""),
    ],
)
def test_the_script_is_the_first_word_that_is_no_option(words, script):
    assert script_of(words.split()) == script


def test_a_script_must_be_where_the_command_is_started(tmp_path):
    (tmp_path / "bench.py").write_text("")
    check_script(["python", "bench.py"], tmp_path)
    check_script(["python", str(tmp_path / "bench.py")], None)
    check_script(["python", "{script}"], tmp_path)
    check_script(["sh", "ls"], tmp_path)  # a shell looks along PATH too
    with pytest.raises(
        EnvironmentProblem, match=r"no file 'bemch\.py' in .*, which 'python' is to run"
    ) as caught:
        check_script(["python", "bemch.py"], tmp_path)
    assert "bench.py" in caught.value.hint
    with pytest.raises(
        EnvironmentProblem, match=r"no file 'bench\.py' beside the study, which 'python' is to"
    ):
        check_script(["python", "bench.py"], None)


@pytest.mark.parametrize(
    "section",
    [
        {"use": "command", "argv": ["sh", "nope.sh"]},
        {"use": "command", "argv": ["{python}", "nope.py"]},
        {"use": "openai_server", "command": ["{python}", "nope.py", "{port}"]},
    ],
)
def test_a_system_refuses_a_missing_script_before_it_launches(section):
    with pytest.raises(EnvironmentProblem, match=r"no file 'nope\.(sh|py)'"):
        build_system(section).check_machine()
