"""Which configuration is exported, what is said of it, and that what is exported runs."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from autotune.cli import main
from autotune.core.trial import Reason
from autotune.engine.registry import ENGINES
from autotune.errors import NothingFeasible, SpecError, StudyError
from autotune.systems.registry import SYSTEMS
from autotune.systems.served.launch import free_port
from tests_exports import CASES, GPUS, record_study, record_trial
from tests_shared import wait_until

TOY = Path(__file__).resolve().parents[1] / "toy"
TOKEN = "hf_" + "a" * 20  # of the form of a real one


@pytest.fixture
def served(tmp_path):
    """A study of a server with points of several latencies besides its winner."""
    with record_study(tmp_path, *CASES["vllm"][:2], "0.11.0", GPUS) as study:
        for seqs, speed, ttft in ((1, 150.0, 0.05), (1, 150.0, 0.05), (64, 180.0, 0.1)):
            config = {**study.space.default_config, "max_num_seqs": seqs, "tensor_parallel": 2}
            record_trial(
                study, config, Reason.EXPLORE, {"output_throughput": speed, "ttft.p99": ttft}, "0.11.0", GPUS
            )
        yield study


def test_the_best_under_other_limits_is_exported_and_says_that_it_is_not_confirmed(served):
    text = served.export("yaml", under=["ttft.p99 <= 80 ms"])
    assert yaml.safe_load(text)["max_num_seqs"] == 1
    assert "the best found under ttft.p99 <= 80 ms" in text
    assert "NOT CONFIRMED: 0 of 2 fresh launches, 2 measurements in all" in text
    assert yaml.safe_load(served.export("yaml"))["draft_length"] == 3
    looser = served.export("yaml", under=["ttft.p99 <= 1 s", "output_throughput >= 10 tokens/s"])
    assert "confirmed: 2 fresh launches" in looser
    with pytest.raises(NothingFeasible, match=r"no configuration keeps ttft.p99 <= 1 ms .* nearest: trial"):
        served.export("yaml", under=["ttft.p99 <= 1 ms"])


def test_every_limit_of_a_metric_is_told_of_what_is_exported(served):
    text = served.export("yaml", under=["ttft.p99 >= 1 ms", "ttft.p99 <= 80 ms"])
    for limit in ("ttft.p99 >= 1 ms", "ttft.p99 <= 80 ms"):
        assert f"{limit}: 50" in text


def test_what_was_measured_is_told_where_system_and_engine_are_unknown(tmp_path, monkeypatch, capsys):
    """Their plug-ins are not installed here: only to measure more needs them."""
    record_study(tmp_path, *CASES["vllm"][:2], "0.11.0", GPUS).close()
    monkeypatch.delitem(SYSTEMS._builtin, "vllm")
    monkeypatch.delitem(ENGINES._builtin, "random")
    monkeypatch.chdir(tmp_path)
    store = ["--store", str(tmp_path)]

    def said(*command):
        assert main([*command, *store]) == 0, capsys.readouterr().err
        return " ".join(capsys.readouterr().out.split())

    assert "output_throughput" in said("status", "Chat_1")
    best = said("best", "Chat_1")
    assert "output_throughput" in best
    assert "deploy: not known here: unknown system 'vllm'" in best
    assert json.loads(said("best", "Chat_1", "--json"))["deploy"] == []
    said("report", "Chat_1", "-o", "report.md")
    assert "unknown system 'vllm'" in Path("report.md").read_text("utf-8")
    assert "output" in said("compare", "Chat_1", "Chat_1")
    for name in ("yaml", "python", "env"):
        text = said("export", "Chat_1", "--as", name)
        assert "max_num_seqs" in text
        assert "its command is not known here: unknown system 'vllm'" in text.replace("# ", "")
    assert main(["export", "Chat_1", "--as", "docker-compose", *store]) == 2
    assert "its command is not known here: unknown system 'vllm'" in capsys.readouterr().err
    assert main(["resume", "Chat_1", *store]) == 2  # it would measure


def test_any_trial_is_exported_by_its_number(served):
    text = served.export("yaml", trial=0)
    assert yaml.safe_load(text)["max_num_seqs"] == 1
    assert "the default configuration" not in served.export("yaml", trial=6)
    assert "trial 0 of study Chat_1, chosen by its number" in text
    assert "the winner" in served.export("yaml", trial=1)
    failed = served.suggest(served.trials[0].suggestion)
    served.tell(failed, failure="out_of_memory")
    with pytest.raises(StudyError, match=r"trial 9 of study 'Chat_1' has no measurement \(out_of_memory\)"):
        served.export("yaml", trial=failed.number)
    with pytest.raises(StudyError, match="trial 99 of study 'Chat_1' is not there; measured: 0, 1"):
        served.export("yaml", trial=99)
    with pytest.raises(SpecError, match="cannot both be given"):
        served.export("yaml", trial=0, under=["ttft.p99 <= 1 s"])


def test_a_limit_on_what_nobody_measured_names_what_was(served):
    with pytest.raises(SpecError, match=r"no trial measured ttft\.p95; measured: output_throughput, ttft"):
        served.export("yaml", under=["ttft.p95 <= 1 s"])
    with pytest.raises(SpecError, match="cannot read the limit"):
        served.export("yaml", under=["ttft.p99 < fast"])


def test_a_broken_limit_and_a_failed_launch_are_told(tmp_path):
    with record_study(tmp_path, *CASES["function"]) as study:
        slow = {"n": 4, "fast": False}
        record_trial(study, slow, Reason.EXPLORE, {"output_throughput": 1.0, "ttft.p99": 0.9})
        assert study.export("yaml", trial=6).count("; BROKEN") == 1
        study.tell(study.suggest(study.trials[6].suggestion), failure="out_of_memory")
        assert "NOT RELIABLE: 1 launch of it failed" in study.export("yaml", trial=6)


@pytest.mark.parametrize("launches", [0, 1])
def test_a_winner_whose_confirmation_is_missing_or_incomplete_is_not_confirmed(tmp_path, launches):
    with record_study(tmp_path, *CASES["function"], launches=launches) as study:
        text = study.export("yaml", trial=1)
    assert f"NOT CONFIRMED: {launches} of 2 fresh launches" in text


def test_no_format_shows_a_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/lib/{TOKEN}")
    with record_study(tmp_path, *CASES["vllm"]) as study:
        texts = [study.export(name) for name in ("args", "env", "k8s", "systemd", "python", "vllm-yaml")]
    assert TOKEN not in "".join(texts)
    assert all("secrets are not shown" in text for text in texts)


def test_a_study_of_a_python_program_is_its_configuration(tmp_path):
    with record_study(tmp_path, {}, {"n": 4}) as study:
        assert yaml.safe_load(study.export("yaml")) == {"n": 4}
        assert "measured with the caller's own program" in study.export("env")
        with pytest.raises(
            SpecError, match="this study cannot be exported as args: it was measured by a Python"
        ):
            study.export("args")


SERVER = """
import os, sys
import toy_openai

class Handler(toy_openai.Handler):
    def look(self, asked):
        asked["prompt"] = {"n": sys.argv[2], "words": sys.argv[3:], "mode": os.environ.get("OMP_NUM_THREADS")}

toy_openai.serve(Handler)
"""


@pytest.mark.parametrize("name", ["args", "python", "systemd", "k8s"])
def test_what_is_exported_serves_the_configuration(name, tmp_path):
    script = tmp_path / "it's a server.py"
    script.write_text(SERVER)
    section = {
        "use": "openai_server", "model": "m", "env": {"OMP_NUM_THREADS": "3", "PYTHONPATH": str(TOY)},
        "command": [sys.executable, str(script), "{port}", "{n}", "50% of $HOME", "$(date)"],
    }  # fmt: skip
    with record_study(tmp_path, section, {"n": 4}) as study:
        text = study.export(name, **({"image": "python:3"} if name == "k8s" else {}))
    port = str(free_port())  # another test may have the usual one
    argv, env = started(name, text.replace("8000", port), tmp_path)
    with subprocess.Popen(argv, cwd="/", env={"PATH": "/usr/bin:/bin", "HOME": "/nowhere", **env}) as server:
        try:

            def answer():
                assert server.poll() is None
                body = json.dumps({"prompt": "x", "max_tokens": 1})
                url = f"http://127.0.0.1:{port}/v1/completions"
                asked = ["curl", "-sS", url, "-H", "Content-Type: application/json", "-d", body]
                return subprocess.run(asked, capture_output=True, text=True, check=False).stdout

            found = json.loads(wait_until(answer, 60))["choices"][0]["text"]
        finally:
            server.terminate()
    assert found == str({"n": "4", "words": ["50% of $HOME", "$(date)"], "mode": "3"})


def started(name, text, folder):
    """Return argv and variables as whoever reads a format starts it."""
    path = folder / "exported"
    path.write_text(text)
    if name == "args":
        path.write_text(text.replace("\nenv ", "\nexec env "))  # so that it is the process that is ended
        return ["sh", str(path)], {}
    if name == "python":
        return [sys.executable, str(path)], {}
    if name == "systemd":
        lines = [line.partition("=") for line in text.splitlines() if not line.startswith("#")]
        env = dict(unit_words(value)[0].split("=", 1) for key, _, value in lines if key == "Environment")
        (argv,) = [unit_words(value) for key, _, value in lines if key == "ExecStart"]
        return [word.replace("$$", "$") for word in argv], env
    (container,) = next(yaml.safe_load_all(text))["spec"]["template"]["spec"]["containers"]
    argv = [word.replace("$$(", "$(") for word in (*container["command"], *container["args"])]
    return [sys.executable, *argv[1:]], {one["name"]: one["value"] for one in container["env"]}


def unit_words(text):
    """Return the words of a unit's line, as systemd.syntax(7) reads them."""
    words, word, quoted, at = [], "", False, 0
    while at < len(text):
        mark = text[at]
        if mark == "\\":
            at += 1
            word += text[at]
        elif mark == '"':
            quoted = not quoted
        elif mark == " " and not quoted:
            words.append(word)
            word = ""
        elif mark == "%":
            at += 1
            assert text[at] == "%"
            word += "%"
        else:
            word += mark
        at += 1
    return [*words, word]


def test_the_module_has_the_configuration_and_a_shell_reads_the_variables(tmp_path):
    with record_study(tmp_path, *CASES["function"]) as study:
        module, variables = study.export("python"), study.export("env")
    path = tmp_path / "tuned.py"
    path.write_text(module)
    assert runpy.run_path(str(path))["CONFIG"] == {"n": 4, "fast": True}
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"n": 4, "fast": True}
    (tmp_path / "tuned.env").write_text(variables)
    line = 'set -a; . ./tuned.env; printf "%s %s" "$TUNED_FAST" "$AUTOTUNE_CONFIG"'
    shown = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert shown == 'true {"fast": true, "n": 4}'


def test_the_command_writes_a_file_whole(tmp_path, capsys):
    record_study(tmp_path, *CASES["command"]).close()
    store = ["--store", str(tmp_path)]
    target = tmp_path / "run.sh"
    target.write_text("earlier")
    assert main(["export", "Chat_1", "--as", "args", "-o", str(target), *store]) == 0
    assert capsys.readouterr().out == ""
    assert target.read_text().endswith("--threads 8\n")
    assert [name for name in os.listdir(tmp_path) if not name.startswith("ledger")] == ["run.sh"]
    assert main(["export", "--as", "yaml", "--json", *store]) == 0
    data = json.loads(capsys.readouterr().out)
    assert yaml.safe_load(data["text"]) == {"mode": "fast 50%", "threads": 8}
    assert main(["export", "--as", "yml", *store]) == 2
    assert "did you mean 'yaml'" in capsys.readouterr().err
    assert main(["export", "--as", "yaml", "-o", str(tmp_path / "no" / "file"), *store]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["export", "--as", "yaml", "--under", "ttft.p99 <= 1 ms", *store]) == 4


def test_a_study_is_opened_for_reading_where_its_engine_is_of_a_plug_in_that_is_missing(
    tmp_path, monkeypatch
):
    import autotune
    from autotune.errors import EnvironmentProblem

    space = autotune.Space([autotune.Int("n", 0, 9)])
    monkeypatch.setitem(ENGINES._builtin, "annealing", ENGINES._builtin["random"])
    made = autotune.Study(
        space, {"maximize": "speed"}, engine={"use": "annealing"}, path=tmp_path / "l.sqlite"
    )
    with made:
        for n in range(4):
            made.add({"n": n}, {"speed": 1.0 + n})
    monkeypatch.delitem(ENGINES._builtin, "annealing")
    with autotune.Study.open(tmp_path / "l.sqlite") as study:
        assert len(study.trials) == 4
        assert study.best.config == {"n": 3}
        assert "speed" in str(study.result)
        assert autotune.plot.progress(study).data
        assert study.export("yaml")
        study.add({"n": 8}, {"speed": 9.0})  # no engine is asked
        with pytest.raises(EnvironmentProblem, match="unknown engine 'annealing'") as caught:
            study.ask()
        assert "install the package that brings it" in caught.value.hint
    with autotune.Study.open(tmp_path / "l.sqlite", engine="random") as study:
        assert study.ask().config
