"""A scalar has the type that the flag, the parameter or YAML gives it, wherever it goes."""

import json
from pathlib import Path

import pytest

from autotune.study.study_file import read_study, study_from_dict
from autotune.systems.registry import build_system

FILES = Path(__file__).parent / "files"


def system_of(name, overrides=()):
    spec = read_study(FILES / name, overrides)
    return spec, spec.system.built


def launched(system, config):
    assert system.check(config) is None
    return system.deploy(config).words


def sent(system, config, tmp_path):
    """Return the fields of every request as the load generator reads them from the attempt's folder."""
    system.command(config, tmp_path)
    return json.loads((tmp_path / "launch.json").read_text())["body"]


def test_the_fields_of_requests_have_the_types_of_yaml(tmp_path):
    spec, system = system_of("body-types.yaml")
    body = sent(system, {"top_p": 0.5, "top_k": 5, "seed": 7, "logprobs": True}, tmp_path)
    assert body == {
        "ignore_eos": True, "temperature": 0.7, "n": 1, "stop": ["a", "b"],
        "chat_template_kwargs": {"enable_thinking": False, "budget": 100}, "min_tokens": "{max_tokens}",
        "user": None, "top_p": 0.5, "top_k": 5, "seed": 7, "logprobs": True,
    }  # fmt: skip
    assert isinstance(body["ignore_eos"], bool)
    assert spec.space["seed"].levels == (7, 8)
    left_out = sent(system, {"top_p": 0.5, "top_k": "auto", "seed": 7, "logprobs": False}, tmp_path)
    assert "top_k" not in left_out
    stored = study_from_dict(json.loads(json.dumps(spec.to_dict())))  # as a ledger keeps it
    assert sent(stored.system.built, {}, tmp_path) == {
        key: value for key, value in body.items() if key not in spec.space.names
    }
    quoted = system_of("body-types.yaml", ['system.body={temperature: "0.7", n: 2}'])[1]
    assert sent(quoted, {}, tmp_path) == {"temperature": "0.7", "n": 2}
    assert sent(system_of("body-types.yaml", ["system.body.n=3"])[1], {}, tmp_path)["n"] == 3


def test_json_inside_flags_has_the_types_of_yaml_and_json_text_stays():
    spec, system = system_of("vllm-json-flags.yaml")
    stored = study_from_dict(json.loads(json.dumps(spec.to_dict()))).system.built
    for one in (system, stored):
        words = launched(one, {"max_num_seqs": 8, "compilation_config": '{"mode":0}'})
        assert '{"rope_scaling":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32768},' \
            '"use_cache":false}' in words  # fmt: skip
        assert '{"method":"ngram","num_speculative_tokens":5,"prompt_lookup_max":4}' in words
        assert '{"temperature": 0.5}' in words
        assert '{"image":0}' in words
        assert "--no-enable-prefix-caching" in words
        assert words[words.index("--max-model-len") + 1] == "131072"


@pytest.mark.parametrize("name", ["typed-catauto.yaml", "typed-catnum.yaml"])
def test_every_configuration_of_numbers_in_a_categorical_can_be_launched(name):
    spec, system = system_of(name)
    for config in spec.space.table().configs(range(len(spec.space.table()))):
        words = launched(system, config)
        tokens = config["max_num_batched_tokens"]
        assert ("--max-num-batched-tokens" in words) == (tokens != "auto")
        assert tokens == "auto" or words[words.index("--max-num-batched-tokens") + 1] == str(tokens)


def test_a_function_is_given_numbers_and_truth_values():
    spec, system = system_of("cn.yaml")
    assert spec.space["b"].levels == (16, 32, 0.5, True)
    for value in spec.space["b"].levels:
        found = json.loads(system.command({"b": value}, Path()).env["AUTOTUNE_CONFIG"])["b"]
        assert (found, type(found)) == (value, type(value))


def test_a_command_and_flags_of_text_get_what_is_written(tmp_path):
    file = tmp_path / "study.yaml"
    written = "[0.10, 1e3, 017, true, no]"
    file.write_text(
        f"parameters: {{a: {{type: categorical, values: {written}}}}}\n"
        "system: {use: command, argv: [echo, '{a}']}\nobjective: {maximize: y}\n"
    )
    assert read_study(file).space["a"].levels == ("0.10", "1e3", "017", "true", "no")
    file.write_text(
        f"parameters: {{a: {{type: categorical, values: {written}}}, "
        f"b: {{type: categorical, values: {written}}}}}\n"
        "system: {use: openai_server, command: [x, '{port}', --a, '{a}'], request: [b]}\n"
        "objective: {maximize: output_throughput}\n"
    )
    space = read_study(file).space
    assert space["a"].levels == ("0.10", "1e3", "017", "true", "no")
    assert space["b"].levels == (0.1, 1000.0, 17, True, "no")
    file.write_text(
        f"parameters: {{tokenizer_revision: {{type: categorical, values: {written}}}}}\n"
        "system: {use: vllm, model: m}\n"
    )
    spec = read_study(file)
    assert "--tokenizer-revision 0.10" in " ".join(spec.system.built.deploy(spec.space.default_config).words)


def test_sizes_and_lists_are_read_as_the_server_reads_them(tmp_path):
    _, system = system_of("flags-vllm-8k.yaml")
    assert "--max-num-batched-tokens 8000" in " ".join(system.deploy({"max_num_seqs": 16}).words)
    _, more = system_of("flags-vllm-8k.yaml", [
        "system.flags={max_num_batched_tokens: 8K, kv_cache_memory_bytes: 4G, max_model_len: 25.6k,"
        " cudagraph_capture_sizes: [1, 2, 4], served_model_name: [a, b], allowed_origins: ['*']}",
    ])  # fmt: skip
    words = " ".join(more.deploy({"max_num_seqs": 16}).words)
    assert "--max-num-batched-tokens 8192 --kv-cache-memory-bytes 4294967296 --max-model-len 25600" in words
    assert "--cudagraph-capture-sizes 1 2 4 --served-model-name a b" in words
    assert '--allowed-origins ["*"]' in words
    section = {"use": "llama_cpp", "model": "m.gguf", "flags": {"tensor_split": [3, 1]}}
    assert "--tensor-split 3,1" in " ".join(build_system(section).deploy({}).words)
    sizes = "parameters.max_num_batched_tokens={type: categorical, values: [2k, auto, 4096]}"
    listed = system_of("flags-vllm-8k.yaml", [sizes])
    assert listed[0].space["max_num_batched_tokens"].levels == ("2k", "auto", 4096)
    assert "--max-num-batched-tokens 2000" in " ".join(
        launched(listed[1], {"max_num_seqs": 16, "max_num_batched_tokens": "2k"})
    )


def test_auto_leaves_any_flag_out_that_has_no_such_value():
    fixed = {"max_num_seqs": "auto", "block_size": "auto"}
    system = build_system({"use": "vllm", "model": "m", "flags": fixed})
    config = {"gpu_memory_utilization": "auto", "draft_length": "auto", "quantization_bits": "auto",
              "enable_prefix_caching": "auto", "performance_mode": "auto",
              "kv_cache_dtype": "auto"}  # fmt: skip
    assert launched(system, config)[:-4] == ["vllm", "serve", "m", "--kv-cache-dtype", "auto"]
    problem = system.check({"draft_length": "three"})
    assert problem.message == "draft_length takes a whole number, found 'three'"
