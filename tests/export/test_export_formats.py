"""Every format of every kind of system: golden texts, and the validators that exist for them."""

import functools
import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from autotune.core.endpoint import Endpoint
from autotune.core.version import VERSION
from autotune.errors import SpecError
from autotune.export.base import Export
from autotune.export.registry import EXPORTERS, export_text, find_exporter, formats_of
from autotune.systems.deployment import HOST, PORT, Deployment
from autotune.systems.registry import build_system
from autotune.systems.served.flags import table
from autotune.testing.exporter_contract import ExporterContract
from tests_exports import CASES, record_study
from tests_shared import anywhere

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def export_case(tmp_path_factory):
    """Gives the texts of a case by format, and the errors of formats that make no sense."""

    @functools.cache
    def exported(case):
        with pytest.MonkeyPatch.context() as patch:  # a machine without servers, whose cache is known
            patch.setenv("XDG_CACHE_HOME", "/cache")
            patch.setenv("PATH", "/nowhere")
            patch.delenv("PYTHONPATH")
            with record_study(tmp_path_factory.mktemp(case), *CASES[case]) as study:
                texts, errors = {}, {}
                for name in EXPORTERS.builtin:
                    try:
                        texts[name] = study.export(name)
                    except SpecError as error:
                        errors[name] = error.message
        return texts, errors

    return exported


@pytest.mark.parametrize("case", CASES)
def test_the_files_of_a_system(case, export_case, request):
    texts, errors = export_case(case)
    found = "".join(f"===== {name}\n{text}" for name, text in texts.items())
    found += "===== refused\n" + "".join(f"{text}\n" for text in errors.values())
    found = anywhere(found).replace(f"autotune {VERSION}", "autotune VERSION")
    golden = GOLDEN / f"{case}.txt"
    if not golden.exists() and request.config.getoption("--write-golden"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found)
    assert found == golden.read_text()
    for text in texts.values():
        assert "confirmed: 2 fresh launches" in text
        assert "output_throughput: 200.0 ±" in text


class TestFormats(ExporterContract):
    @pytest.fixture(params=EXPORTERS.builtin)
    def exporter(self, request):
        return EXPORTERS.load(request.param)()


SERVED = [
    case for case in CASES if case not in ("openai_url", "transformers", "command", "function", "ray_tune")
]
IMAGES = [case for case in SERVED if case not in ("llama_cpp_python", "openai_server")]


@pytest.mark.parametrize("case", IMAGES)
def test_kubernetes_takes_the_objects(case, export_case):
    texts, _ = export_case(case)
    deployment, service = yaml.safe_load_all(texts["k8s"])
    for found in (deployment, service):
        kubernetes_validate.validate(found, "1.30", strict=True)
    broken = {**deployment, "spec": {**deployment["spec"], "replicas": "one"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.30", strict=True)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert HOST not in json.dumps(container["args"])
    if not case.startswith("vllm"):  # whose chart is tested below
        same_container(yaml.safe_load(texts["helm-values"]), container)
    service = next(iter(yaml.safe_load(texts["docker-compose"])["services"].values()))
    words = [word.replace("$$", "$") for word in (*service["entrypoint"], *service["command"])]
    assert words == [word.replace("$$(", "$(") for word in (*container["command"], *container["args"])]


def same_container(values, container):
    shared = ("command", "args", "env", "resources", "startupProbe", "readinessProbe", "volumeMounts")
    assert {key: values.get(key) for key in shared} == {key: container.get(key) for key in shared}
    assert f"{values['image']['repository']}:{values['image']['tag']}" == container["image"]


@pytest.mark.parametrize("case", ["vllm", "vllm_cpu"])
def test_the_chart_of_vllm_starts_the_words_that_were_measured(case, export_case):
    texts, _ = export_case(case)
    spec = yaml.safe_load(texts["helm-values"])["servingEngineSpec"]
    (server,) = spec["modelSpec"]
    config = server["vllmConfig"]
    caching = "--enable-prefix-caching" if config["enablePrefixCaching"] else "--no-enable-prefix-caching"
    made = [
        "vllm",
        "serve",
        server["modelURL"],
        "--host",
        "0.0.0.0",
        "--port",
        "8000",
        caching,
    ]  # as its template
    if "tensorParallelSize" in config:
        made += ["--tensor-parallel-size", str(config["tensorParallelSize"])]
    made += config["extraArgs"]
    pod = next(yaml.safe_load_all(texts["k8s"]))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    measured = [*container["command"], *container["args"]]
    assert sorted(made) == sorted({*measured, caching} if caching not in measured else measured)
    assert server["resources"] == container["resources"]
    assert {one["name"]: one["value"] for one in server.get("env", ())} == {
        one["name"]: one["value"] for one in container["env"] if one["name"] != "HF_HOME"
    }
    kept = [one for one in pod.get("volumes", ()) if one["name"].startswith("model-")]
    assert server.get("extraVolumes", []) == kept
    # types as in values.schema.json of vllm-stack 0.1.12
    for name, kind in {"name": str, "repository": str, "tag": str, "modelURL": str, "replicaCount": int,
                       "requestGPU": int, "resources": dict, "vllmConfig": dict}.items():  # fmt: skip
        assert type(server[name]) is kind
    assert type(config["enablePrefixCaching"]) is bool
    assert all(type(word) is str for word in config["extraArgs"])


def test_gpus_and_shared_memory_are_asked_for_where_they_were_used(export_case):
    texts, _ = export_case("vllm")
    pod = next(yaml.safe_load_all(texts["k8s"]))["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": 2}}
    assert {"name": "shared-memory", "emptyDir": {"medium": "Memory"}} in pod["volumes"]
    assert pod["containers"][0]["startupProbe"]["failureThreshold"] == 30  # of 10 s: the 5 min of the study
    service = yaml.safe_load(texts["docker-compose"])["services"]["chat-1"]
    devices = [{"driver": "nvidia", "count": 2, "capabilities": ["gpu"]}]
    assert service["deploy"]["resources"]["reservations"]["devices"] == devices
    assert service["image"] == "vllm/vllm-openai:v0.11.0"


def test_no_gpu_is_asked_for_where_none_was_used(export_case):
    texts, _ = export_case("vllm_cpu")
    assert "nvidia" not in texts["k8s"] + texts["docker-compose"]
    assert "vllm-cpu-release-repo:v0.11.0" in texts["k8s"]
    assert "# no part of the container: memory_limit" in texts["k8s"]


@pytest.mark.parametrize(
    ("version", "gpu", "expected"),
    [
        ("0.11.0", True, ("vllm/vllm-openai:v0.11.0", True)),
        ("0.11.0+cu128", True, ("vllm/vllm-openai:v0.11.0", True)),
        ("0.11.0rc2", True, ("vllm/vllm-openai:v0.11.0rc2", True)),
        ("0.11.1.dev4+gabc", True, ("vllm/vllm-openai:latest", False)),
        ("", True, ("vllm/vllm-openai:latest", False)),
        ("0.11.0", False, ("public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.11.0", True)),
    ],
)
def test_the_tag_of_an_image_is_the_measured_version_or_says_that_it_is_not(version, gpu, expected):
    image = build_system({"use": "vllm", "model": "m"}).image
    assert image.reference(version, gpu=gpu) == expected


def test_an_image_that_may_be_of_another_version_is_told(export_case):
    texts, _ = export_case("openvino")
    assert "not known to be of the version" in texts["docker-compose"]
    assert "not known to be" not in texts["systemd"]


@pytest.fixture(scope="module")
def compose():
    """Words that start Docker Compose, which needs no daemon to read a file."""
    for words in (("docker", "compose"), ("docker-compose",)):
        if (
            shutil.which(words[0])
            and not subprocess.run([*words, "version"], capture_output=True, check=False).returncode
        ):
            return words
    pytest.skip("there is no Docker Compose")


@pytest.mark.parametrize(
    "case",
    [
        case if case in ("vllm", "llama_cpp") else pytest.param(case, marks=pytest.mark.slow)
        for case in IMAGES
    ],
)
def test_docker_compose_takes_the_file(case, export_case, tmp_path, compose):
    texts, _ = export_case(case)
    (tmp_path / "compose.yaml").write_text(texts["docker-compose"])
    argv = [*compose, "-f", str(tmp_path / "compose.yaml"), "config"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (read,) = yaml.safe_load(done.stdout)["services"].values()
    (service,) = yaml.safe_load(texts["docker-compose"])["services"].values()
    for name in ("image", "entrypoint", "command", "environment", "restart"):
        assert read.get(name) == service.get(name)
    broken = texts["docker-compose"].replace("    restart: unless-stopped", "    restart: [1]")
    (tmp_path / "compose.yaml").write_text(broken)
    assert subprocess.run(argv, capture_output=True, check=False).returncode != 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_takes_the_unit_of_a_command_with_every_special_character(tmp_path):
    words = (sys.executable, "-c", "print", "50% $HOME", "${X}", 'a "b" \\c', "it's; #1", "", "tab\there")
    deployment = Deployment(words, {"A": "50% of $HOME", "B": 'a "b"'}, str(tmp_path))
    unit = tmp_path / "toy.service"
    unit.write_text(export_text(server(deployment), "systemd"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    said = "\n".join(line for line in done.stderr.splitlines() if "toy.service" in line)
    assert said == "", said
    unit.write_text(unit.read_text().replace("Type=exec", "Type=nonsense"))
    argv = ["systemd-analyze", "verify", "--man=no", str(unit)]
    assert "toy.service" in subprocess.run(argv, capture_output=True, text=True, check=False).stderr


def server(deployment, **changes):
    """Return an export of a server of one's own."""
    found = replace(deployment, endpoint=Endpoint("http://127.0.0.1:8000", "m", "/v1/completions"))
    return Export("chat", "openai_server", {"n": 1}, ("a note",), found, **changes)


@pytest.mark.parametrize("case", SERVED)
def test_a_unit_starts_the_words_of_the_deployment(case, export_case):
    texts, _ = export_case(case)
    line = next(line for line in texts["systemd"].splitlines() if line.startswith("ExecStart="))
    words = [w.replace("%%", "%").replace("$$", "$") for w in shlex.split(line.removeprefix("ExecStart="))]
    command = "".join(line for line in texts["args"].splitlines(True) if not line.startswith("#"))
    started = shlex.split(command.replace("\\\n", " "))
    assert words == started[next(i for i, w in enumerate(started) if w == words[0]) :]


@pytest.mark.parametrize(("case", "name"), [("vllm", "vllm-yaml"), ("sglang", "sglang-yaml")])
def test_the_servers_own_file_says_what_the_command_line_says(case, name, export_case):
    texts, _ = export_case(case)
    data = yaml.safe_load(texts[name])
    known = {flag.flag.removeprefix("--") for flag in table(case).flags.values()}
    known |= {f"no-{flag}" for flag in known} | {"model", "model-path", "host", "port"}
    assert set(data) <= known
    words = []
    for key, value in data.items():  # as both readers do
        values = value if isinstance(value, list) else [] if value is True else [value]
        words += [f"--{key}", *map(str, values)]
    started = shlex.split(texts["args"].split("\n", texts["args"].count("#"))[-1].replace("\\\n", " "))
    assert {w for w in words if w not in ("--model", "--model-path")} <= {*started, str(PORT)}
    flags = {w for w in started if w.startswith("--")} - {"--model", "--model-path"}
    assert flags == {w for w in words if w.startswith("--")} - {"--model", "--model-path"}


@pytest.mark.parametrize("case", ["function", "ray_tune"])
def test_a_function_is_exported_as_its_configuration(case, export_case):
    texts, errors = export_case(case)
    assert set(texts) == {"env", "yaml", "python"}
    assert yaml.safe_load(texts["yaml"]) == {"n": 4, "fast": True}
    assert "autotune.systems" not in "".join(texts.values())
    assert errors["k8s"] == (
        f"{case} cannot be exported as k8s: a function is called with its configuration, not started; "
        "allowed: env, yaml, python, toy-text, optuna"
    )


class _Failing:
    def refuses(self, export):
        raise RuntimeError("no idea")


def test_a_refusal_names_every_format_that_works(export_case, tmp_path, monkeypatch):
    for case in CASES:
        texts, errors = export_case(case)
        for message in errors.values():
            assert message.endswith(f"; allowed: {', '.join([*texts, 'toy-text', 'optuna'])}"), message
    monkeypatch.setattr("toy_system.ToyFormat", _Failing)
    with record_study(tmp_path, *CASES["command"]) as study:
        for name in ("vllm-yaml", "docker-compose"):
            with pytest.raises(SpecError, match=r"allowed: args, env, yaml, python, optuna$"):
                study.export(name)
        for near in ("optuna", "toy-text", "helm-values"):
            with pytest.raises(SpecError, match=r"unknown export format .*, toy-text, optuna") as found:
                study.export(near[:-1])
            assert near in found.value.hint
        assert json.loads(study.export("optuna").splitlines()[0])["op_code"] == 0


def test_a_word_is_a_text_for_every_reader_of_yaml(export_case):
    texts, _ = export_case("vllm")
    assert 'VLLM_LOGGING_LEVEL: "1e3"' in texts["docker-compose"]  # a number in YAML 1.2


def test_what_compose_and_kubernetes_would_expand_is_escaped(tmp_path):
    with record_study(tmp_path, {**CASES["openai_server"][0]}, {"n": 4, "top_k": 40}) as study:
        compose = study.export("docker-compose", image="mine:1")
        assert "/models/50% of $$HOME" in compose
        assert "/models/50% of $HOME" in study.export("k8s", image="mine:1")
        unit = study.export("systemd")
    assert '"/models/50%% of $$HOME"' in unit


def test_a_format_of_a_plug_in_is_found(tmp_path):
    assert "toy-text" in EXPORTERS.names()
    with record_study(tmp_path, *CASES["function"]) as study:
        assert study.export("toy-text") == "Chat_1: {'fast': True, 'n': 4}\n"
        with pytest.raises(SpecError, match="unknown export format 'k8'; allowed: args, env"):
            study.export("k8")
    assert formats_of(Export("s", "", {"a": 1})) == ["env", "yaml", "python", "toy-text", "optuna"]


@pytest.mark.parametrize(
    ("written", "meant"), [("kubernetes", "k8s"), ("helm", "helm-values"), ("compose", "docker-compose")]
)
def test_a_format_by_its_usual_name_is_told_how_it_is_called_here(written, meant):
    with pytest.raises(SpecError) as found:
        find_exporter(written)
    assert found.value.hint == f"did you mean {meant!r}?"
