"""``autotune init MODEL`` and ``autotune run MODEL`` as a user meets them."""

import json
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.study.study_file import read_study
from tests_described import gguf_bytes, write_config


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


@pytest.fixture
def launched(monkeypatch):
    """Commands that would tune, without the tuning."""
    found = []

    def run(spec, *_args, **_options):
        found.append(spec)
        return 0

    monkeypatch.setattr("autotune.cli.study._execute", run)
    return found


def run(capsys, *args):
    code = main(list(map(str, args)))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_init_writes_a_file_that_is_checked_and_says_what_is_next(here, capsys):
    write_config(here / "my model")
    code, out, _ = run(capsys, "init", "my model")
    assert code == 0
    assert out.startswith("wrote my-model-chat.yaml\n  transformers 5")
    assert "autotune check my-model-chat.yaml" in out
    spec = read_study("my-model-chat.yaml")
    assert (spec.name, spec.system.section["model"]) == ("my-model-chat", str(here / "my model"))
    code, out, _ = run(capsys, "check", "my-model-chat.yaml")
    assert code == 0
    assert "configurations of" in out
    assert (Path("my-model-chat.yaml").stat().st_mode & 0o777) in (0o644, 0o664, 0o600)


def test_init_writes_over_nothing(here, capsys):
    write_config(here / "m")
    Path("m-chat.yaml").write_text("mine")
    code, _, err = run(capsys, "init", "m")
    assert (code, Path("m-chat.yaml").read_text()) == (2, "mine")
    assert "m-chat.yaml is there already" in err
    assert run(capsys, "init", "m", "--force")[0] == 0
    assert run(capsys, "init", "m", "-o", "other.yaml")[0] == 0
    assert read_study("other.yaml").name == "other"
    code, out, _ = run(capsys, "init", "m", "-o", "-")
    assert (code, out.startswith("# m with transformers")) == (0, True)
    code, _, err = run(capsys, "init", "m", "-o", "none/s.yaml")
    assert code == 2
    assert "-o: no such folder: none" in err
    assert [path.name for path in here.iterdir() if path.name.startswith(".")] == []


def test_init_json_tells_the_file_the_study_and_the_system(here, capsys):
    write_config(here / "m")
    code, out, _ = run(capsys, "init", "m", "--json", "--workload", "code")
    told = json.loads(out)
    assert (code, told["file"], told["study"]) == (0, "m-code.yaml", "m-code")
    assert told["system"].startswith("transformers")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["none/of/this"], 3, "no such file or folder"),
        (["org/none"], 3, "HF_HUB_OFFLINE is set"),
        (["m", "--system", "vlm"], 2, "no search space is known for the system 'vlm'"),
        (["m", "--system", "sglang"], 3, "sglang is not installed"),
        (["m", "--workload", "chatt"], 2, "unknown workload 'chatt'"),
        (["m", "--limit", "ttft.p99 < fast"], 2, "--limit 'ttft.p99 < fast'"),
        (["m", "--limit", "nonsense <= 5 ms"], 2, "the nearest name is '"),
        (["m", "--limit", "tttft <= 5 ms"], 2, "unknown metric 'tttft'"),
        (["m", "--limit", "ttft.p99 <= -5 ms"], 2, "ttft.p99 is never negative"),
        (["m", "--limit", "ttft.p99 <= 0 ms"], 2, "ttft.p99 is always above 0"),
        (
            ["m", "--limit", "ttft.p99 <= 5 s", "--limit", "ttft.p99 <= 2 s"],
            2,
            "--limit: two upper limits on ttft.p99: 'ttft.p99 <= 5 s' and 'ttft.p99 <= 2 s'",
        ),
        (["m", "--budget", ""], 2, "--budget must not be empty"),
        (["m", "--goal", ""], 2, "--goal must not be empty"),
        (["m", "--budget", "-3"], 2, "for example '3 s'"),
        (["m", "--program", "none-such"], 3, "there is no program 'none-such'"),
        (["x.gguf"], 3, "nothing on this machine can serve x.gguf"),
        ([""], 2, "names no model"),
    ],
)
def test_mistakes_are_one_error(here, capsys, monkeypatch, args, code, said):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    write_config(here / "m")
    (here / "x.gguf").write_bytes(gguf_bytes())
    found, _, err = run(capsys, "init", *args)
    assert found == code
    assert said in err
    assert err.count("error:") == 1
    assert list(here.glob("*.yaml")) == []


def test_run_of_a_model_writes_the_file_and_goes_on(here, capsys, launched):
    write_config(here / "m")
    code, out, err = run(capsys, "run", "m", "--limit", "ttft.p99 <= 3 s", "--set", "budget.trials=2")
    assert code == 0
    assert err.startswith("wrote m-chat.yaml")
    assert out == ""  # standard output is the study's
    (spec,) = launched
    assert (spec.name, spec.budget.trials) == ("m-chat", 2)
    assert "ttft.p99 <= 3 s" in str(spec.objective)


def test_a_second_run_takes_the_file_as_its_user_left_it(here, capsys, launched):
    write_config(here / "m")
    run(capsys, "run", "m")
    text = Path("m-chat.yaml").read_text().replace("high: 64", "high: 16")
    Path("m-chat.yaml").write_text(f"# mine\n{text}")
    code, _, err = run(capsys, "run", "m")
    assert (code, err) == (0, "m-chat.yaml is there already and is taken as it is\n")
    assert Path("m-chat.yaml").read_text().startswith("# mine\n")
    assert launched[1].space["batch_size"].levels[-1] == 16
    assert run(capsys, "run", "m", "--workload", "code")[0] == 0  # another study of the same model
    assert launched[2].name == "m-code"


def test_options_that_a_file_which_is_there_would_not_take_are_refused(here, capsys, launched):
    write_config(here / "m")
    run(capsys, "run", "m")
    code, _, err = run(capsys, "run", "m", "--limit", "ttft.p99 <= 1 s")
    assert code == 2
    assert "m-chat.yaml is there already, and --limit would change nothing in it" in err
    code, _, err = run(capsys, "run", "m-chat.yaml", "--goal", "latency")
    assert code == 2
    assert "--goal is for a model, and m-chat.yaml is a study file" in err
    assert len(launched) == 1


def test_models_of_one_name_do_not_share_a_file(here, capsys, launched):
    for place in ("a", "b"):
        write_config(here / place / "m")
    assert run(capsys, "run", "a/m")[0] == 0
    code, _, err = run(capsys, "run", "b/m")
    assert code == 2
    assert f"m-chat.yaml is there already and serves '{here}/a/m', not '{here}/b/m'" in err
    assert len(launched) == 1


def test_run_tells_files_from_models(here, capsys, launched):
    code, _, err = run(capsys, "run", "vllm")
    assert code == 2
    assert "'vllm' is of the catalogue (search_spaces/vllm.yaml), and names no model to serve" in err
    assert "`autotune init MODEL --system vllm`" in err
    code, _, err = run(capsys, "run", "none.yaml")
    assert code == 2
    assert "none.yaml' does not exist" in err
    assert launched == []


@pytest.mark.parametrize(
    "name", ["it's", 'a "b"', "# x", "mödel 模", "- a", "{x}", "a: b", "%TAG", "x" * 120]
)
def test_folders_of_any_name_can_be_run(here, capsys, launched, name):
    write_config(here / name)
    code, _, err = run(capsys, "run", f"./{name}")
    assert code == 0, err
    assert launched[0].system.section["model"] == str(here / name)
    code, _, err = run(capsys, "run", f"./{name}")
    assert "taken as it is" in err


def test_a_name_with_a_line_break_is_refused(here, capsys):
    code, _, err = run(capsys, "init", "line\nbreak")
    assert code == 2
    assert "has characters that are not printed" in err


def test_llama_cpp_is_found_by_its_name_and_the_file_passes_check(here, capsys):
    from tests.servers.install import is_installed, program_of

    if not is_installed("llama_server"):
        pytest.skip("llama_server is not installed: python tests/servers/install.py llama_server")
    for tag in ("Q8_0", "F16"):
        (here / f"small-{tag}.gguf").write_bytes(gguf_bytes())
    program = str(program_of("llama_server"))
    code, out, err = run(capsys, "init", "small-F16.gguf", "--program", program)
    assert code == 0, err
    assert "llama_cpp 0." in out
    code, out, err = run(capsys, "check", "small-chat.yaml")
    assert code == 0, err
    assert f"{program} --model" in " ".join(out.split())


def test_openvino_in_a_python_of_its_own_passes_check(here, capsys):
    from tests.servers.install import is_installed, python_of

    if not is_installed("openvino"):
        pytest.skip("openvino is not installed: python tests/servers/install.py openvino")
    (here / "small-F16.gguf").write_bytes(gguf_bytes())
    code, out, err = run(capsys, "init", "small-F16.gguf", "--program", python_of("openvino"))
    assert code == 0, err
    assert "openvino 2026" in out
    assert run(capsys, "check", "small-F16-chat.yaml")[0] == 0
