"""The study files of described machines: golden texts, and that nothing in them would be refused."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autotune.cli import main
from autotune.errors import EnvironmentProblem, SpecError
from autotune.init.choose import CANDIDATES, choose
from autotune.init.fit import Fit
from autotune.init.installed import Installed
from autotune.init.machine import GIB, Gpu
from autotune.init.model import tiny_card
from autotune.init.proposal import Request
from autotune.init.starter import Options, start, stem_of
from autotune.init.workloads import LOADS, load_named
from autotune.spec import catalogue
from autotune.study.readiness import refusals
from autotune.study.study_file import read_study
from tests_described import CARDS, MACHINES

GOLDEN = Path(__file__).parent / "golden"
CASES = [
    ("1xh100", "8b", Options()),
    ("1xh100", "8b", Options(system="sglang", workload="rag", goal="latency")),
    ("1xh100", "awq", Options(workload="code")),
    ("1xh100", "gguf", Options(system="llama_cpp")),
    ("8xh200", "70b", Options(goal="goodput", limits=("ttft.p99 <= 500 ms",), budget="8 h")),
    ("8xh200", "70b", Options(system="tensorrt_llm", workload="batch")),
    ("8xh200", "moe", Options(goal="cost")),
    ("24gb", "8b", Options(workload="batch", draft_model="Qwen/Qwen3-0.6B")),
    ("24gb", "small", Options(system="transformers")),
    ("laptop", "gguf", Options(budget="10")),
    ("laptop", "gguf", Options(system="openvino")),
    ("laptop", "ollama", Options(system="ollama", workload="code")),
    ("laptop", "small", Options()),
]


def study_of(card, options, machine):
    name = stem_of(card, options)
    return start(card, options, machine, name=name, file=f"{name}.yaml", model=card.title).text


def read(tmp_path, text):
    (tmp_path / "study.yaml").write_text(text)
    return read_study(tmp_path / "study.yaml")


def name_of(case):
    machine, card, options = case
    words = [machine, card, options.system, options.workload, options.goal]
    return "-".join(word for word in words if word)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_machine_and_a_model_give_exactly_this_file(case, request, tmp_path):
    machine, card, options = case
    text = study_of(CARDS[card], options, MACHINES[machine])
    golden = GOLDEN / f"{name_of(case)}.yaml"
    if not golden.exists() and request.config.getoption("--write-golden"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()
    assert max(len(line) for line in text.splitlines() if not line.startswith("# written by")) <= 104
    read(tmp_path, text)


def test_the_file_in_the_documentation_is_what_is_written():
    page = (Path(__file__).parents[2] / "docs" / "init.md").read_text()
    shown = page.partition("```yaml\n")[2].partition("\n```")[0]
    assert shown == study_of(CARDS["8b"], Options(), MACHINES["1xh100"]).rstrip()


@pytest.mark.parametrize(
    "machine",
    ["8xh200", *(pytest.param(name, marks=pytest.mark.slow) for name in sorted({*MACHINES} - {"8xh200"}))],
)
def test_no_configuration_of_any_proposal_would_be_refused(machine, tmp_path):
    proposed = 0
    goals = itertools.cycle(("throughput", "goodput", "latency", "cost", "latency_throughput", "energy"))
    loads = itertools.cycle(LOADS)
    for card, system in itertools.product((*CARDS.values(), tiny_card()), CANDIDATES):
        options = Options(system=system, workload=next(loads), goal=next(goals))
        try:
            text = study_of(card, options, MACHINES[machine])
        except (EnvironmentProblem, SpecError):
            continue
        spec = read(tmp_path, text)
        assert refusals(spec, spec.system.built).text == "", options
        assert spec.system.built.check(spec.space.default_config) is None
        proposed += 1
    assert proposed >= 8


def test_the_same_proposals_pass_check_where_programs_and_gpus_are_there(tmp_path, monkeypatch, capsys):
    bins = tmp_path / "bin"
    bins.mkdir()
    for name in ("vllm", "trtllm-serve", "llama-server", "ollama", "python"):
        (bins / name).write_text("#!/bin/sh\nexit 1\n")
        (bins / name).chmod(0o755)
    models = tmp_path / "models"
    models.mkdir()
    gguf = replace(CARDS["gguf"], model=str(models / "qwen3-4b-{quantization}.gguf"))
    for tag, _ in gguf.choices:
        (models / f"qwen3-4b-{tag}.gguf").touch()
    monkeypatch.setenv("PATH", f"{bins}:/usr/bin:/bin")
    monkeypatch.setenv("RAY_ADDRESS", "ray://a-cluster-with-gpus:10001")
    monkeypatch.chdir(tmp_path)
    for system, card in (
        ("vllm", CARDS["70b"]),
        ("sglang", CARDS["8b"]),
        ("tensorrt_llm", CARDS["8b"]),
        ("llama_cpp", gguf),
        ("ollama", CARDS["ollama"]),
        ("transformers", tiny_card()),
    ):
        Path("s.yaml").write_text(study_of(card, Options(system=system), MACHINES["8xh200"]))
        code = main(["check", "s.yaml"])
        said = capsys.readouterr()
        assert code == 0, (system, said.err)
        assert "refused" not in said.out.replace("refused at", "")


def test_what_is_planned_only_passes_check(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    onnx, triton = tmp_path / "onnx", tmp_path / "triton"
    for folder, name in ((onnx, "model.onnx"), (triton, "config.pbtxt")):
        folder.mkdir()
        (folder / name).write_bytes(b"x")
    for folder, system in ((onnx, "onnxruntime"), (triton, "triton")):
        assert main(["init", str(folder), "--system", system, "-o", "s.yaml", "--force"]) == 0
        assert "planned only" in Path("s.yaml").read_text()
        assert main(["check", "s.yaml"]) == 0
        assert "it is planned only, not measured" in " ".join(capsys.readouterr().out.split())


def test_every_parameter_of_a_space_is_kept_or_left_with_a_reason():
    spaces = {
        "vllm": "vllm",
        "sglang": "sglang",
        "tensorrt_llm": "tensorrt_llm",
        "llama_cpp": "llama_cpp",
        "openvino": "openvino",
        "transformers": "transformers",
        "ollama": "ollama",
    }
    from autotune.spec.yaml_text import parse_text, read_text

    for system, space in spaces.items():
        card = CARDS["gguf"] if system in ("llama_cpp", "openvino", "ollama") else CARDS["8b"]
        plan = choose(card, MACHINES["1xh100"], load_named("chat"), Request(), system).proposal
        offered = parse_text(read_text(catalogue.find("search_spaces", space)), space).data["parameters"]
        kept = {row.name for row in plan.rows}
        left = {name for names, reason in plan.left for name in names.split(", ") if reason}
        assert set(offered) <= kept | left, system
        assert not kept & left


def plan_of(card, machine, system="vllm", workload="chat", **request):
    return choose(card, machine, load_named(workload), Request(**request), system).proposal


def test_bits_that_do_not_fit_or_that_the_card_cannot_compute_are_left_out():
    h100, small = MACHINES["1xh100"], MACHINES["24gb"]
    assert plan_of(CARDS["8b"], h100).row("quantization_bits").entry["values"] == [8, 16]
    assert plan_of(CARDS["8b"], small).row("quantization_bits") is None  # Ampere has no FP8
    assert plan_of(CARDS["awq"], h100).row("quantization_bits") is None
    one = plan_of(CARDS["70b"], replace(h100, gpus=(Gpu("NVIDIA B200", 192 * GIB, 10.0),)))
    assert one.row("quantization_bits").entry["values"] == [4, 8, 16]
    with pytest.raises(EnvironmentProblem, match=r"does not fit into the GPU: at 8 bits it needs 73.*usable"):
        plan_of(CARDS["70b"], h100)


def test_splits_divide_heads_and_hold_the_weights():
    eight = MACHINES["8xh200"]
    plan = plan_of(CARDS["70b"], eight, "sglang")
    assert plan.row("tensor_parallel").entry["values"] == [2, 4, 8]  # 131 GiB of weights are not on one
    assert ("tensor_parallel * data_parallel <= 8", "8 GPUs") in plan.constraints
    odd = replace(CARDS["8b"], heads=12, kv_heads=4)
    assert plan_of(odd, eight).row("tensor_parallel").entry["values"] == [1, 2, 4]
    assert plan_of(CARDS["8b"], MACHINES["1xh100"]).row("tensor_parallel") is None
    unknown = replace(CARDS["8b"], heads=0, kv_heads=0, kv_width=0)
    assert plan_of(unknown, eight).row("tensor_parallel").entry["values"] == [1]


def test_batches_end_where_the_cache_or_the_load_ends():
    fit = Fit(CARDS["8b"], MACHINES["1xh100"], load_named("chat"), on_gpu=True)
    assert fit.per_token() == 147456
    assert 250 < fit.requests(16) < 350
    assert plan_of(CARDS["8b"], MACHINES["1xh100"]).row("max_num_seqs").entry["high"] == 64
    assert plan_of(CARDS["8b"], MACHINES["1xh100"], workload="batch").row("max_num_seqs").entry["high"] == 256
    searched = plan_of(CARDS["8b"], MACHINES["1xh100"], goal="goodput").row("max_num_seqs").entry["high"]
    assert searched == 512  # at 8 bits the cache holds some 400 requests
    assert plan_of(CARDS["8b"], MACHINES["24gb"]).row("max_num_seqs").entry["high"] == 32


def test_threads_end_at_the_cores_and_drafts_need_a_draft_model():
    laptop = MACHINES["laptop"]
    plan = plan_of(CARDS["gguf"], laptop, "llama_cpp")
    assert plan.row("threads").entry["values"] == [1, 2, 4]
    assert plan.row("draft_length") is None
    assert plan_of(CARDS["gguf"], laptop, "llama_cpp", draft_model="d.gguf").row("draft_length")
    assert plan_of(CARDS["gguf"], replace(laptop, cores=1, physical=1), "llama_cpp").row("threads") is None
    assert plan_of(CARDS["small"], laptop, "transformers").row("threads").entry["values"] == [1, 2, 4]
    without = plan_of(CARDS["small"], replace(laptop, compiler=False), "transformers")
    assert without.row("quantization_bits").entry["values"] == [8, 16]


def test_a_prefix_cache_is_searched_only_where_prompts_share_something():
    assert plan_of(CARDS["8b"], MACHINES["1xh100"]).row("enable_prefix_caching") is None
    assert plan_of(CARDS["8b"], MACHINES["1xh100"], workload="rag").row("enable_prefix_caching")


def test_a_flag_that_the_installed_version_lacks_is_left_out():
    old = Installed(
        "vllm", "0.6.1", on_cpu=False, flags=frozenset({"max_num_seqs", "gpu_memory_utilization"})
    )
    plan = plan_of(CARDS["8b"], replace(MACHINES["1xh100"], installed=(old,)))
    assert [row.name for row in plan.rows] == ["quantization_bits", "max_num_seqs", "gpu_memory_utilization"]
    assert dict(plan.left)["performance_mode"] == "vllm 0.6.1 has no such flag"


def test_an_installation_without_any_flag_to_tune_says_so():
    bare = Installed("llama_cpp", "b1", flags=frozenset({"model", "port", "host"}))
    with pytest.raises(EnvironmentProblem, match="llama_cpp b1 has nothing to tune") as caught:
        plan_of(
            replace(CARDS["gguf"], choices=()), replace(MACHINES["laptop"], installed=(bare,)), "llama_cpp"
        )
    assert "--program" in caught.value.hint


def test_the_best_system_is_chosen_and_the_others_are_named():
    choice = choose(CARDS["8b"], MACHINES["1xh100"], load_named("chat"), Request())
    assert choice.proposal.installed.system == "vllm"
    assert list(choice.others) == ["sglang", "tensorrt_llm", "transformers"]
    assert choice.missing["llama_cpp"] == "llama_cpp reads gguf, and this is a checkpoint of safetensors"
    laptop = choose(CARDS["small"], MACHINES["laptop"], load_named("chat"), Request())
    assert laptop.proposal.installed.system == "transformers"
    assert laptop.missing["vllm"] == "vllm needs a GPU, and there is none"


def test_where_nothing_can_serve_it_one_error_says_what_is_missing():
    bare = replace(MACHINES["laptop"], installed=())
    with pytest.raises(EnvironmentProblem) as caught:
        choose(CARDS["gguf"], bare, load_named("chat"), Request())
    assert caught.value.exit_code == 3
    assert "nothing on this machine can serve qwen3-4b-Q4_K_M.gguf" in caught.value.message
    assert "llama_cpp: llama_cpp is not installed" in caught.value.message
    assert "llama-server" in caught.value.hint
    with pytest.raises(EnvironmentProblem, match="vllm is not installed"):
        choose(CARDS["8b"], bare, load_named("chat"), Request(), "vllm")
    tight = replace(MACHINES["laptop"], memory=2 * GIB)
    with pytest.raises(EnvironmentProblem, match=r"does not fit into this machine's memory: .* are usable"):
        choose(CARDS["gguf"], tight, load_named("chat"), Request(), "llama_cpp")
    with pytest.raises(SpecError, match="reads gguf, and this is a checkpoint"):
        choose(CARDS["8b"], bare, load_named("chat"), Request(), "llama_cpp")
    with pytest.raises(SpecError, match="no search space is known for the system 'vlm'") as unknown:
        choose(CARDS["8b"], bare, load_named("chat"), Request(), "vlm")
    assert unknown.value.hint == "did you mean 'vllm'?"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(workload="chta"), "unknown workload 'chta'; allowed: chat, rag, code, batch"),
        (Options(goal="speed"), "unknown goal 'speed'; allowed: throughput"),
        (Options(goal="quality_guarded"), "unknown goal 'quality_guarded'"),
        (Options(limits=("fast",)), "--limit 'fast': cannot read the limit"),
        (Options(limits=("ttft.p99 <= 5 kg",)), "--limit 'ttft.p99 <= 5 kg'"),
        (Options(limits=("ttft <= 500 ms",)), "--limit 'ttft <= 500 ms'"),
        (Options(budget="soon"), "--budget must be a time such as 2 h or a number of trials, found 'soon'"),
        (Options(budget="1 min"), "--budget 1 min is too little: a trial takes about"),
        (Options(budget="0"), "--budget must be at least 1 trial"),
        (Options(budget="-3"), "--budget must be a time"),
    ],
)
def test_what_a_user_says_wrongly_is_one_error(options, said):
    with pytest.raises(SpecError) as caught:
        study_of(CARDS["8b"], options, MACHINES["1xh100"])
    assert said in caught.value.message


def test_limits_of_the_user_take_the_place_of_the_usual_ones(tmp_path):
    options = Options(limits=("ttft.p99 <= 500 ms", "memory.weights <= 20 GiB"))
    spec = read(tmp_path, study_of(CARDS["8b"], options, MACHINES["1xh100"]))
    assert [str(limit) for limit in spec.objective.limits] == [
        "ttft.p99 <= 500 ms",
        "memory.weights <= 20 GiB",
        "tpot.p95 <= 100 ms",
        "quality.token_agreement >= 0.8",
    ]


def test_limits_that_a_machine_cannot_keep_are_looser(tmp_path):
    text = study_of(replace(CARDS["8b"], stored=0), Options(system="transformers"), MACHINES["laptop"])
    spec = read(tmp_path, text)
    bounds = {limit.metric: limit.bound for limit in spec.objective.limits}
    assert bounds["ttft.p95"] > 100
    assert bounds["tpot.p95"] > 1
    assert "one request alone takes about" in text


def test_a_budget_of_the_user_is_kept(tmp_path):
    spec = read(tmp_path, study_of(CARDS["8b"], Options(budget="7"), MACHINES["1xh100"]))
    assert spec.budget.trials == 7
    spec = read(tmp_path, study_of(CARDS["8b"], Options(budget="1 h"), MACHINES["1xh100"]))
    assert spec.budget.time_s == 3600
    assert 15 <= spec.budget.trials <= 30


@pytest.mark.parametrize(
    "title",
    [
        "a b",
        "it's",
        'say "hi"',
        "naïve-模型",
        "x # no comment",
        "- list",
        "key: value",
        "{a: b}",
        "*anchor",
        "no",
        "017",
        "%percent",
        "@at",
        "back\\slash",
    ],
)
def test_any_name_of_a_folder_is_read_back_as_it_is(tmp_path, title):
    card = replace(CARDS["small"], model=f"/models/{title}", title=title, architecture=f"A # {title}\n- b: c")
    spec = read(tmp_path, study_of(card, Options(system="transformers"), MACHINES["laptop"]))
    assert spec.system.section["model"] == f"/models/{title}"
    assert spec.name.endswith("-transformers-chat")


def test_loads_are_scaled_to_a_short_context():
    load = load_named("chat").fitted(512)
    assert load.longest <= 512
    assert "scaled to the model's context of 512 tokens" in load.source
    assert load_named("chat").fitted(0) == load_named("chat") == load_named("chat").fitted(4096)


def test_lengths_are_sampled_to_their_longest(tmp_path):
    spec = read(tmp_path, study_of(CARDS["8b"], Options(), MACHINES["1xh100"]))
    load = load_named("chat")
    assert spec.workload.prompt_tokens.longest == load.longest_prompt
    assert spec.workload.output_tokens.longest == load.longest_output
    assert spec.system.section["flags"]["max_model_len"] == "4352"
    rng = np.random.default_rng(0)
    assert max(spec.workload.prompt_tokens.at(u) for u in rng.random(1000)) <= load.longest_prompt
