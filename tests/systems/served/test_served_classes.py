"""Who may set each flag of each server: the allow-list is complete, and what is new in it is refused."""

import json
from importlib.resources import files

import pytest

from autotune.core.borrowed import Borrowed
from autotune.systems import owner_only
from autotune.systems.owner_only import UNCLASSED, flag_classes, objections
from autotune.systems.registry import SYSTEMS
from autotune.systems.served.flags import Flag, FlagTable, table

SERVERS = ("vllm", "sglang", "llama_cpp", "tensorrt_llm", "ollama", "openvino", "triton", "onnxruntime",
           "transformers_serve")  # fmt: skip

# Texts that a space may choose freely, as far as they are plain words: each was looked up in the server.
FREE_WORDS = {
    "vllm": {"attention_backend", "mamba_backend", "max_model_len",
             "mm_encoder_attn_backend", "numa_bind_cpus", "optimization_level", "quantization"},
    "sglang": {"eplb_algorithm", "kt_method", "speculative_draft_attention_backend"},
    "llama_cpp": {"cpu_mask", "cpu_mask_batch", "cpu_range", "cpu_range_batch", "fit_target",
                  "seed", "slot_prompt_similarity", "spec_draft_cpu_mask", "spec_draft_cpu_mask_batch",
                  "spec_draft_cpu_range", "tensor_split"},
    "ollama": {"ollama_keep_alive"},
    "openvino": {"cpu_sparse_weights_decompression_rate", "inference_precision_hint", "key_cache_precision",
                 "kv_cache_precision", "model_distribution_policy", "scheduling_core_type", "tbb_partitioner",
                 "value_cache_precision"},
}  # fmt: skip

# Parts of names that stand for code, places, secrets and interfaces: none of them is tunable.
SUSPICIOUS = ("plugin", "_cls", "class", "trust", "path", "_dir", "file", "folder", "url", "host", "port",
              "addr", "endpoint", "socket", "ssl", "key_file", "api_key", "token_header", "hf_",
              "template", "log_", "_hook", "module", "script", "library", "middleware", "cors", "origins",
              "grpc", "rpc", "config_file")  # fmt: skip
LOOK_HARMLESS = {
    "hf_overrides",  # a structure of which only numbers may be set
    "hicache_host_memory_fraction",
    "hicache_host_memory_mode",
    "lora_target_modules",  # choices
    "mamba_max_states_per_path",
    "mm_feature_transport",
    "sequence_batching_direct_max_queue_delay_microseconds",
    "sequence_batching_direct_minimum_slot_utilization",
}


def parameters(use):
    kind = SYSTEMS.load(use)
    return {*kind.translated, *kind.aliases, *kind.variables, *table(use).flags}


@pytest.mark.parametrize("use", SERVERS)
def test_every_flag_is_classed_once_and_nothing_else_is(use):
    data = json.loads((files("autotune.systems.served") / "classes" / f"{use}.json").read_text())
    listed = [*data["tunable"], *(name for names in data["owner_only"].values() for name in names)]
    assert sorted(listed) == sorted(parameters(use))
    assert set(data.get("values", ())) | set(data.get("inner", ())) <= set(data["tunable"])


def test_every_flag_table_has_its_classes():
    folder = files("autotune.systems.served")
    tables = {file.name for file in (folder / "tables").iterdir()}
    assert tables == {f"{use}.json" for use in SERVERS}
    assert tables <= {file.name for file in (folder / "classes").iterdir()}


@pytest.mark.parametrize("use", SERVERS)
def test_a_tunable_flag_takes_numbers_choices_and_words_that_were_looked_up(use):
    classes = flag_classes(use)
    flags = {name: flag for name, flag in table(use).flags.items() if name in classes.tunable}
    free = {n for n, f in flags.items() if f.kind == "text" and not f.choices} - set(classes.values or ())
    assert free == FREE_WORDS.get(use, set())
    assert {n for n, f in flags.items() if f.kind == "json"} == set(classes.inner or ())


@pytest.mark.parametrize("use", SERVERS)
def test_no_name_of_code_a_place_or_a_secret_is_tunable(use):
    names = flag_classes(use).tunable - LOOK_HARMLESS
    assert [(name, part) for name in sorted(names) for part in SUSPICIOUS if part in name] == []


def taken(use, **parts):
    return objections(Borrowed(section={"use": use, "model": "tiny"}, **parts))


@pytest.mark.parametrize("use", SERVERS)
def test_a_space_may_set_no_flag_that_is_the_owners(use):
    for name in parameters(use) - flag_classes(use).tunable:
        entry = {"type": "bool", "default": "true"}
        (found,) = taken(use, parameters={name: entry})
        assert found.path == ("parameters", name)
        assert found.reason == flag_classes(use).owner_only[name]
        assert len(taken(use, system={"flags": {name: "1"}})) == 1
        assert len(taken(use, derived={name: "1 == 1"})) == 1


@pytest.mark.parametrize("use", SERVERS)
def test_a_flag_of_a_new_version_is_refused_until_it_is_classed(use, monkeypatch):
    known = table(use)
    for name in ("a_new_number", "enable_new_thing", "new_plugin"):
        new = FlagTable(use, "999", "", {**known.flags, name: Flag(name, f"--{name}", "int")})
        monkeypatch.setattr(owner_only, "table", lambda _, new=new: new)
        for part in ({"parameters": {name: {"type": "int", "low": "1", "high": "2"}}},
                     {"system": {"flags": {name: "1"}}}, {"derived": {name: "1 + 1"}}):  # fmt: skip
            (found,) = taken(use, **part)
            assert found.reason == UNCLASSED


BAD = ["/opt/evil", "evil/model", "..", "a..b", "../x", "~/x", "C:\\x", "http://198.51.100.7", "s3://x/y",
       "hf://x", "//h/x", "user@host", "127.0.0.1:80", "localhost:80", "-rf", "--config=x", "os.system",
       "evil.Worker", "a b", "a;b", "$(id)", "`id`", "a|b c", "{x}", '{"a": 1}', "[1]", "%s", "é", "", "a\nb",
       "x" * 65, "a=b", "*", "#x", "'x'", "\\x"]  # fmt: skip


@pytest.mark.parametrize("use", SERVERS)
def test_values_are_numbers_choices_and_plain_words(use):
    names = sorted(flag_classes(use).tunable)
    for value in BAD:
        entry = {"type": "categorical", "values": ["auto", value], "default": value}
        found = taken(use, parameters=dict.fromkeys(names, entry))
        places = [(name, *key) for name in names for key in (("values", 1), ("default",))]
        assert [item.path[1:] for item in found] == places, value
        assert len(taken(use, system={"flags": dict.fromkeys(names, value)})) == len(names), value


@pytest.mark.parametrize("use", SERVERS)
def test_every_choice_and_number_that_a_server_has_is_allowed(use):
    classes = flag_classes(use)
    for name in classes.tunable - set(classes.values or ()):
        flag = table(use).flags.get(name)
        good = [
            *(flag.choices or () if flag else ()),
            "auto",
            "0",
            "-1",
            "0.5",
            "1e-5",
            "true",
            "Q4_K_M",
            "4.5",
        ]
        assert taken(use, parameters={name: {"type": "categorical", "values": good}}) == []


DERIVED = [
    ("vllm", {"x": '\'{"backend":"evil.module.fn"}\'', "compilation_config": "x"}),
    ("vllm", {"x": "'http://198.51.100.7'", "speculative_config": "y", "y": "(x)"}),
    ("vllm", {"x": "'/etc/evil'", "hf_overrides": "x"}),
    ("vllm", {"x": "'../evil'", "quantization": "x"}),
    ("vllm", {"draft_method": "'custom_class'"}),
    ("vllm", {"draft_method": "quantization"}),
    ("vllm", {"x": "quantization", "draft_method": "x"}),
    ("transformers_serve", {"x": "'http://198.51.100.7'", "attn_implementation": "x"}),
    ("sglang", {"x": "'/etc/evil'", "speculative_algorithm": "x"}),
]


@pytest.mark.parametrize(("use", "derived"), DERIVED)
def test_a_text_that_a_derived_value_comes_to_is_judged_as_a_value_of_its_name(use, derived):
    parameters = {"quantization": {"type": "categorical", "values": ["custom_class", "x"]}}
    if use != "vllm":
        parameters = {}
    found = taken(use, derived=derived, parameters=parameters)
    assert found
    assert {item.path[0] for item in found} == {"derived"}


@pytest.mark.parametrize("use", ["command", "openai_server"])
def test_a_derived_value_that_the_owners_words_name_is_judged_through_others(use):
    words = {
        "command": {"argv": ["serve", "{mode}"]},
        "openai_server": {"command": ["serve", "{port}", "{mode}"], "body": {}},
    }[use]
    section = {"use": use, **words}
    derived = {"mode": "x", "x": "'../../etc/evil'"}
    (found,) = objections(Borrowed(section=section, derived=derived))
    assert found.path == ("derived", "mode")
    assert objections(Borrowed(section=section, derived={"mode": "x", "x": "'fast'"})) == []


def test_a_derived_value_of_the_owners_is_asked_for_the_texts_of_the_space_alone():
    both = {"quantization": "x", "x": "'/mine'"}
    assert taken("vllm", all_derived=both) == []
    assert [item.path for item in taken("vllm", derived={"x": "'/evil'"}, all_derived=both | {"x": "'/evil'"})
            ] == [("derived", "x")]  # fmt: skip
    assert [item.path for item in taken("vllm", derived={"quantization": "x"}, all_derived=both)] == [
        ("derived", "quantization")
    ]


def test_derived_numbers_truth_values_and_plain_words_pass():
    parameters = {"quantization": {"type": "categorical", "values": ["awq", "none"]},
                  "n": {"type": "ordinal", "values": ["1", "2"]}}  # fmt: skip
    derived = {"enforce_eager": "quantization == 'awq'", "max_num_seqs": "n * 8", "draft_length": "n",
               "draft_method": "'ngram'", "x": "'fp8'", "kv_cache_dtype": "x"}  # fmt: skip
    assert taken("vllm", parameters=parameters, derived=derived) == []


INNER = [
    ("speculative_config", {"method": "ngram", "num_speculative_tokens": "3"}, []),
    ("speculative_config", {"method": "draft_model", "model": "evil/model"}, ["model"]),
    ("speculative_config", {"method": "custom_class"}, ["method"]),
    ("speculative_config", {"draft_load_config": {"download_dir": "/"}}, ["draft_load_config"]),
    ("hf_overrides", {"rope_scaling": {"rope_type": "yarn", "factor": "2.0"}}, []),
    ("hf_overrides", {"auto_map": {"AutoModel": "evil.Model"}}, ["auto_map"]),
    ("hf_overrides", {"architectures": ["Evil"], "rope_scaling": {"rope_type": "/x", "code": "y"}},
     ["architectures", "rope_type", "code"]),
    ("compilation_config", {"mode": "3", "cudagraph_capture_sizes": ["1", "2"]}, []),
    ("compilation_config", {"backend": "evil.backend", "cache_dir": "/x", "mode": "3"},
     ["backend", "cache_dir"]),
    ("compilation_config", {"pass_config": {"enable_sp": "true", "evil": "1"}}, ["evil"]),
    ("compilation_config", {"mode": {"x": "1"}}, ["mode"]),
    ("compilation_config", {"custom_ops": ["none", "../x"]}, ["custom_ops"]),
    ("kv_transfer_config", {"kv_connector_module_path": "evil"}, [None]),
    ("max_num_seqs", {"x": "1"}, [None]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "refused"), INNER)
def test_of_a_structure_only_the_keys_that_are_classed_may_be_set(name, value, refused):
    found = taken("vllm", system={"flags": {name: value}})
    assert [item.path[-1] for item in found] == [key or name for key in refused]


@pytest.mark.parametrize(
    ("name", "value"),
    [("json_model_override_args", {"auto_map": "x"}), ("model_loader_extra_config", {"a": "1"}),
     ("limit_mm_data_per_request", {"image": "1", "module": "x"}), ("forward_hooks", '[{"x": 1}]'),
     ("preferred_sampling_params", {"custom": "x"})],
)  # fmt: skip
def test_structures_of_sglang_are_the_owners_or_keyed(name, value):
    assert len(taken("sglang", system={"flags": {name: value}})) == 1
    assert taken("sglang", system={"flags": {"limit_mm_data_per_request": {"image": "2"}}}) == []
