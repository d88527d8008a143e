"""Files of other tools become study files, and what is lost is said line by line."""

import json
import warnings
from pathlib import Path

import numpy as np
import optuna
import pytest

from autotune.convert.formats import FORMATS, convert
from autotune.core.space import Space
from autotune.errors import EnvironmentProblem, SpecError
from autotune.study.study_file import read_study
from autotune.systems.registry import build_system
from autotune.testing.converter_contract import ConverterContract

FILES = Path(__file__).parent / "files"
GOLDEN = Path(__file__).parent / "golden"


OWN = {"wandb": "wandb_*", "auto-tune-vllm": "auto_tune_vllm*", "vllm-sweep": "vllm_sweep_*"}


class TestFormats(ConverterContract):
    @pytest.fixture(params=OWN)
    def converter(self, request):
        self.files = [path.read_text() for path in sorted(FILES.glob(OWN[request.param]))]
        return FORMATS[request.param]


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.iterdir()))
def test_a_file_becomes_exactly_this_study(name, request, monkeypatch, tmp_path):
    monkeypatch.chdir(FILES)
    text = convert(name).to_yaml()
    golden = GOLDEN / f"{Path(name).stem}.yaml"
    if not golden.exists() and request.config.getoption("--write-golden"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()
    (tmp_path / "study.yaml").write_text(text)
    spec = read_study(tmp_path / "study.yaml")  # what `autotune check` reads
    made = Space.from_dict({k: v for k, v in convert(name).study.items()
                            if k in ("parameters", "constraints", "configurations")})  # fmt: skip
    assert spec.space == made  # writing and reading changes no type
    assert spec.space.default_config
    system = spec.system.built if spec.system else None
    for config in spec.space.sample(8, np.random.default_rng(0)):
        assert system is None or system.check(config) is None


def test_what_the_sweep_said_is_what_is_searched():
    space = Space.from_dict(convert(str(FILES / "sweep.yaml")).study["parameters"])
    assert space["max_num_seqs"].levels == (16, 64, 256)
    assert space["enable_prefix_caching"].levels == (False, True)
    assert space["max_num_batched_tokens"].levels[:2] == (1024, 1536)
    assert space["max_num_batched_tokens"].levels[-1] == 8192
    assert space["temperature"].scale == "log10"
    assert space["penalty"].low == pytest.approx(0.1353, rel=1e-3)
    assert space["draft_length"].type_name == "int"
    assert space["kv_cache_dtype"].belief() == pytest.approx((0.3, 0.7))
    assert max(space["offset"].belief()) == space["offset"].belief()[len(space["offset"].levels) // 2]


def test_a_study_of_auto_tune_vllm_can_be_checked(tmp_path):
    (tmp_path / "study.yaml").write_text(convert(str(FILES / "auto_tune_vllm.yaml")).to_yaml())
    spec = read_study(tmp_path / "study.yaml")
    assert spec.system.section["model"] == "Qwen/Qwen3-30B-A3B-FP8"
    assert str(spec.objective) == "maximize output_throughput and minimize ttft.p95"
    assert spec.budget.trials == 100
    assert spec.space["long_prefill_token_threshold"].levels[1] == 512


def test_a_sweep_of_all_combinations_needs_no_list(tmp_path):
    path = tmp_path / "params.json"
    path.write_text(json.dumps([{"max_num_seqs": n, "block_size": b} for n in (8, 16) for b in (16, 32)]))
    study = convert(str(path)).study
    assert "configurations" not in study
    assert study["parameters"]["max_num_seqs"] == {"type": "ordinal", "values": [8, 16], "default": 8}
    path.write_text(
        json.dumps({"small": {"max_num_seqs": 8}, "large": {"max_num_seqs": 64, "block_size": 32}})
    )
    found = convert(str(path))
    assert found.study["parameters"]["block_size"]["values"] == ["auto", 32]
    assert any("not in every entry" in line for line in found.notes)


DISTRIBUTIONS = {
    "batch": optuna.distributions.IntDistribution(8, 64, step=8),
    "tokens": optuna.distributions.IntDistribution(512, 8192, log=True),
    "memory": optuna.distributions.FloatDistribution(0.7, 0.95, step=0.05),
    "rate": optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
    "dtype": optuna.distributions.CategoricalDistribution(["auto", "fp8", None]),
    "eager": optuna.distributions.CategoricalDistribution([True, False]),
    "bits": optuna.distributions.CategoricalDistribution([16, 4, 8]),
}


def check_distributions(study):
    space = Space.from_dict(study["parameters"])
    assert space["batch"].levels == tuple(range(8, 65, 8))
    assert (space["tokens"].scale, space["tokens"].low) == ("log2", 512)
    assert space["memory"].levels == (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    assert space["rate"].scale == "log10"
    assert space["dtype"].levels == ("auto", "fp8", "none")
    assert space["eager"].type_name == "bool"
    assert space["bits"].levels == (4, 8, 16)


def test_distributions_of_optuna_in_a_file(tmp_path):
    path = tmp_path / "distributions.json"
    texts = {name: optuna.distributions.distribution_to_json(d) for name, d in DISTRIBUTIONS.items()}
    path.write_text(json.dumps({name: json.loads(text) for name, text in texts.items()}))
    found = convert(str(path))
    check_distributions(found.study)
    assert [line.partition(": ")[2] for line in found.notes] == [
        "the value null of 'dtype' has no equivalent; it is called 'none'",
        "what is launched is not in it: name it under `system`",
    ]


def test_a_study_in_an_optuna_storage(tmp_path, rdb_storage):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = tmp_path / "tuning.db"
    url = f"sqlite:///{path}"
    study = optuna.create_study(study_name="serving", storage=rdb_storage(url),
                                directions=["maximize", "minimize"])  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["throughput", "latency"])
    study.add_trial(optuna.trial.create_trial(
        params={
            "batch": 8, "tokens": 512, "memory": 0.7, "rate": 0.1, "dtype": "auto", "eager": True, "bits": 4
        },
        distributions=DISTRIBUTIONS, values=[1.0, 2.0],
    ))  # fmt: skip
    for source in (str(path), url):
        found = convert(source)
        check_distributions(found.study)
        assert found.study["name"] == "serving"
        assert found.study["objective"] == {"maximize": "throughput", "minimize": "latency"}
    optuna.create_study(study_name="other", storage=rdb_storage(url))
    with pytest.raises(SpecError, match=r"which study\?; it has: .*serving"):
        convert(str(path))
    with pytest.raises(SpecError, match="did you mean 'serving'"):
        convert(str(path), study="servin")
    with pytest.raises(SpecError, match="no such file"):
        convert(f"sqlite:///{tmp_path}/nowhere/x.db")
    with pytest.raises(EnvironmentProblem, match="cannot read the Optuna storage"):
        convert("nodatabase://nowhere/x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n", r"x\.yaml: of no known format; allowed: wandb, auto-tune-vllm, optuna, ray-tune, v"),
        ("[1, 2", r"x\.yaml:1:6: not valid JSON"),
        ("method: grid\nparameters: {lr: {distribution: uniform, min: low, max: 1}}\n",
         r"x\.yaml:2:47: min must be a number, found 'low'"),
        ("method: grid\nparameters: {a: {distribution: gamma}}\n",
         r"no parameter could be converted\n  x\.yaml:2:18: distribution 'gamma' has no equivalent"),
        ("optimization: {objective: {metric: speed}}\nstudy: {}\nparameters: {a: {min: 1, max: 2}}\n",
         r"x\.yaml:1:27: unknown metric"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_clear_error(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(text)
    with pytest.raises(SpecError, match=message):
        convert("x.yaml")


def test_an_unknown_format_is_named():
    with pytest.raises(SpecError, match="did you mean 'wandb'"):
        convert("x.yaml", format_name="wanb")
    assert list(FORMATS) == ["wandb", "auto-tune-vllm", "optuna", "ray-tune", "vllm-sweep"]


def converted(name):
    """Return the space of a file of another tool, its study and its notes."""
    found = convert(str(FILES / name))
    inner = {k: v for k, v in found.study.items() if k in ("parameters", "constraints", "configurations")}
    return Space.from_dict(inner), found.study, "\n".join(found.notes)


def test_constants_and_truth_values_of_wandb():
    space, _, notes = converted("wandb_constant_bool.yaml")
    assert space["save_obs"].levels == (False,)
    assert space["debug"].levels == (False,)
    assert space["mode"].levels == ("none", 0.05, 0.25)
    assert "the value null of 'mode' has no equivalent" in notes


def test_steps_of_wandb_keep_both_ends():
    assert converted("wandb_q_uniform.yaml")[0]["dropout"].levels == (0.3, 0.4, 0.5, 0.6)


def test_nested_parameters_lists_and_quantized_distributions_of_wandb():
    space, study, notes = converted("wandb_nested.yaml")
    assert space["batch_size"].levels == tuple(range(32, 257, 8))
    assert (space["batch_size"].scale, space["batch_size"].fallback) == ("log2", 88)
    assert (space["trees"].low, space["trees"].high) == (2, 50)
    assert space["min_"].levels == (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    assert space["noise"].levels[::3] == (70.0, 85.0, 100.0, 115.0, 130.0)
    assert (space["optimizer_lr"].low, space["optimizer_lr"].scale) == (1e-5, "log10")
    assert space["optimizer_nesterov"].levels == (False, True)
    assert space["layers"].levels == ("[64,32]", "[128]")
    assert space["version"].levels == ("1.10", "1.9", 1000.0, "1e3")
    assert space["max_depth"].fallback == 3
    assert space["max_depth"].belief() == pytest.approx((0.1, 0.3, 0.6))
    assert study["objective"] == {"minimize": "val/loss"}
    for said in (
        "'optimizer' nests parameters",
        "has no bounds; cut to 1 .. 20",
        "'early_terminate'",
        "'program'",
        "structures among the values of 'layers'",
        "parameter 'min' is called 'min_'",
    ):
        assert said in notes


def test_sweeps_of_vllm_with_parts_of_structures_and_partial_entries():
    space, study, notes = converted("vllm_sweep_s1.json")
    assert [dict(config) for config in space.configurations] == [
        {"max_num_seqs": 32, "max_num_batched_tokens": 1024, "enable_prefix_caching": False,
         "compilation_config": '{"pass_config":{"fuse_norm_quant":true}}'},
        {"max_num_seqs": 64, "max_num_batched_tokens": 2048, "enable_prefix_caching": True,
         "compilation_config": '{"pass_config":{"fuse_norm_quant":false}}'},
    ]  # fmt: skip
    assert space.default_config == space.configurations[0]
    space, study, notes = converted("vllm_sweep_s7.json")
    assert space["max_num_batched_tokens"].levels == (2048, 4096, "auto")
    assert space.configurations[2] == {"max_num_seqs": 128, "max_num_batched_tokens": "auto"}
    system = build_system(study["system"])
    assert system.flag_words(system.settings(space.configurations[2])) == ["--max-num-seqs", "128"]
    assert "in the place of MODEL" in notes


def test_structures_as_values_are_json_for_the_flag(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(
        json.dumps(
            [{"speculative_config": {"method": "ngram"}}, {"speculative_config": {"method": "suffix"}}]
        )
    )
    found = convert(str(path)).study["parameters"]["speculative_config"]
    assert found["values"] == ['{"method":"ngram"}', '{"method":"suffix"}']


def test_constraints_loads_and_statistics_of_auto_tune_vllm():
    space, study, _ = converted("auto_tune_vllm_constraints_mean.yaml")
    assert space.constraints == ("max_num_seqs - max_num_batched_tokens <= 0",)
    assert study["objective"] == {"minimize": "ttft.mean"}
    assert study["workload"]["arrival"] == "concurrency"
    assert study["workload"]["concurrency"] == 64
    assert space.default_config == {"max_num_seqs": 256, "max_num_batched_tokens": 1024}  # near the server's


def test_environment_baseline_and_static_values_of_auto_tune_vllm():
    space, study, notes = converted("auto_tune_vllm_env_rate.yaml")
    assert space["attention_backend"].levels == ("FLASH_ATTN", "FLASHINFER")
    assert study["system"]["env"] == {"VLLM_USE_V1": "1"}
    assert study["system"]["flags"] == {"max_model_len": 4096, "enable_prefix_caching": False}
    assert space["gpu_memory_utilization"].fallback == 0.92
    assert "not at 50, 100" in notes
    space, study, notes = converted("auto_tune_vllm_old_flags.yaml")
    assert space.constraints == ("max_num_batched_tokens >= 4 * block_size",)
    assert study["system"]["env"] == {"VLLM_CACHE_ROOT": "/x"}
    for said in (
        "'cuda_graph_sizes' is no flag of vLLM",
        "constraint 'cuda_graph_sizes - 5 <= 0' is left out",
        "constraint 'lambda p: p <= 0' is left out",
        "'MY_TOKEN' is left out: MY_TOKEN sounds like a secret",
        "'OTHER' is left out",
        "'no_such_flag' is left out: it is no flag of vLLM",
        "'VLLM_CPU_X' cannot be searched",
        "'samples' has no equivalent",
        "'prefix' has no equivalent",
        "'sampler' has no equivalent",
    ):
        assert said in notes
    assert "not at" not in notes


def test_a_study_file_of_ours_is_no_sweep_of_vllm(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(
        "name: echo\nparameters: {max_num_seqs: {type: int, low: 1, high: 4}}\nsystem: {use: vllm}\n"
    )
    with pytest.raises(SpecError, match="of no known format"):
        convert(str(file))
