"""A parameter none of whose values changes the command, its environment, a file or a request is refused."""

import pytest

from autotune import load_space
from autotune.core.space import Space
from autotune.errors import SpecError
from autotune.spec.catalogue import find, names
from autotune.spec.yaml_text import parse_text
from autotune.study.study_file import read_study
from autotune.systems.effect import find_ineffective
from autotune.systems.registry import build_system


def space(**parameters):
    return Space.from_dict(parameters)


def listed(*values, **more):
    return {"type": "categorical", "values": list(values), **more}


def numbers(low, high, **more):
    return {"type": "int", "low": low, "high": high, **more}


@pytest.mark.parametrize("name", names("search_spaces"))
def test_every_parameter_of_the_catalogue_changes_something(name):
    file = find("search_spaces", name)
    section = parse_text(file.read_text(), str(file)).data.get("system")
    if section is not None:
        system = build_system({"model": "m", **section})
        assert find_ineffective(system, load_space(file)) is None


@pytest.mark.parametrize(
    ("section", "found", "ineffective", "why"),
    [
        ({"use": "sglang"}, space(draft_length=numbers(0, 4)), "draft_length",
         "there is no speculative_algorithm, as a parameter or under flags"),
        ({"use": "sglang"}, space(speculative_eagle_topk=numbers(1, 4)), "speculative_eagle_topk",
         "there is no speculative_algorithm"),
        ({"use": "sglang", "flags": {"speculative_algorithm": "off"}}, space(draft_length=numbers(0, 4)),
         "draft_length", "speculative_algorithm is always off"),
        ({"use": "sglang", "flags": {"speculative_algorithm": "NGRAM"}}, space(draft_length=numbers(0, 4)),
         "", ""),
        ({"use": "vllm"}, space(prompt_lookup_max=numbers(2, 4)), "prompt_lookup_max", "drafting is off"),
        ({"use": "vllm"}, space(draft_method=listed("ngram", "suffix")), "draft_method", "drafting is off"),
        ({"use": "vllm"}, space(draft_length=numbers(0, 2), draft_method=listed("ngram", "suffix")), "", ""),
        ({"use": "llama_cpp"}, space(spec_type=listed("ngram-mod", "ngram-simple")), "spec_type",
         "drafting is off"),
        ({"use": "vllm"}, space(tensor_parallel=numbers(1, 2), tensor_parallel_size=numbers(1, 2)),
         "tensor_parallel", "tensor_parallel_size sets the same flag"),
        ({"use": "vllm"}, space(enforce_eager={"type": "bool"}, kv_cache_dtype=listed("fp8")), "", ""),
        ({"use": "vllm"}, space(block_size=listed("16", 16)), "block_size", "mean the same here"),
        ({"use": "transformers"}, space(draft_layers=numbers(1, 3)), "draft_layers", "mean the same here"),
        ({"use": "transformers"}, space(batch_size=numbers(1, 3)), "", ""),
        ({"use": "command", "argv": ["x"]}, space(a=listed(1, "1")), "a", "mean the same here"),
        ({"use": "function", "call": "f.py:f"}, space(a=listed(1, "1")), "", ""),
    ],
)  # fmt: skip
def test_what_changes_nothing_is_found_with_its_reason(section, found, ineffective, why):
    model = {} if section["use"] in ("command", "function") else {"model": "m"}
    result = find_ineffective(build_system({**model, **section}), found)
    assert (result or ("", ""))[0] == ineffective
    assert why in (result or ("", ""))[1]


@pytest.mark.parametrize(
    ("section", "found", "ineffective", "why"),
    [
        ({"use": "sglang"}, space(draft_length=listed(4)), "draft_length", "no speculative_algorithm"),
        ({"use": "sglang"}, space(draft_length=numbers(4, 4)), "draft_length", "no speculative_algorithm"),
        ({"use": "sglang"}, space(draft_length=listed(0)), "", ""),
        ({"use": "sglang"}, space(draft_length=listed("auto")), "", ""),
        ({"use": "sglang", "flags": {"speculative_algorithm": "NGRAM"}},
         space(draft_length=listed(4)), "", ""),
        ({"use": "sglang"},
         space(draft_length=listed(4), speculative_algorithm=listed("off", "NGRAM", default="off")), "", ""),
        ({"use": "sglang"}, space(speculative_num_draft_tokens=listed(4), draft_length=listed(0)),
         "speculative_num_draft_tokens", "there is no speculative_algorithm"),
        ({"use": "vllm"}, space(prompt_lookup_max=listed(4)), "prompt_lookup_max", "drafting is off"),
        ({"use": "vllm"}, space(draft_method=listed("ngram")), "draft_method", "drafting is off"),
        ({"use": "vllm"}, space(quantization_bits=listed(16), max_num_seqs=listed(8)), "", ""),
        ({"use": "vllm"}, space(enforce_eager=listed(False)), "", ""),
        ({"use": "llama_cpp"}, space(spec_type=listed("ngram-mod")), "spec_type", "drafting is off"),
        ({"use": "transformers"}, space(batch_size=listed(1), quantization_bits=listed(16)), "", ""),
        ({"use": "transformers"}, space(draft_layers=listed(2)), "draft_layers", "nothing here reads it"),
        ({"use": "command", "argv": ["x", "{a}"]}, space(a=listed(1), b=listed("c")), "b", "nothing here"),
        ({"use": "openai_server", "url": "http://127.0.0.1:1"}, space(temperature=listed(0.5)), "", ""),
    ],
)  # fmt: skip
def test_the_only_value_of_a_parameter_must_reach_something(section, found, ineffective, why):
    model = {} if section["use"] in ("command", "openai_server") else {"model": "m"}
    result = find_ineffective(build_system({**model, **section}), found)
    assert (result or ("", ""))[0] == ineffective
    assert why in (result or ("", ""))[1]


def test_constraints_and_conditions_are_taken_into_account():
    system = build_system({"use": "vllm", "model": "m"})
    tied = Space.from_dict({
        "parameters": {"max_num_seqs": numbers(8, 64, powers_of=2),
                       "block_size": numbers(16, 128, powers_of=2)},
        "constraints": ["max_num_seqs * block_size == 1024"],
    })  # fmt: skip
    assert find_ineffective(system, tied) is None  # neither can change alone
    woken = Space.from_dict({
        "draft_length": numbers(0, 4, default=0),
        "draft_method": listed("ngram", "suffix", when="draft_length > 0"),
    })  # fmt: skip
    assert find_ineffective(system, woken) is None  # the default has it inactive
    never = Space.from_dict({
        "draft_length": numbers(0, 4, default=0),
        "draft_method": listed("ngram", "suffix", when="draft_length > 4"),
    })  # fmt: skip
    assert find_ineffective(system, never) == (
        "draft_method",
        "its condition 'draft_length > 4' is never met",
    )


def test_a_study_with_it_is_refused_where_the_parameter_stands(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(
        "parameters:\n  page_size: {type: ordinal, values: [1, 16]}\n"
        "  draft_length: {type: int, low: 0, high: 4}\n"
        "system: {use: sglang, model: m}\n"
    )
    with pytest.raises(
        SpecError, match=r"study\.yaml:3:3: 'draft_length' changes nothing: .*no speculative_alg"
    ):
        read_study(file)


@pytest.mark.parametrize(
    ("section", "config"),
    [
        ({"use": "sglang", "flags": {"speculative_algorithm": "NGRAM"}}, {"draft_length": 0}),
        ({"use": "sglang"}, {"draft_length": 0, "speculative_algorithm": "EAGLE3"}),
        ({"use": "vllm", "flags": {"speculative_config": {"method": "ngram"}}}, {"draft_length": 0}),
        ({"use": "llama_cpp", "flags": {"spec_type": "ngram-mod"}}, {"draft_length": 0}),
        ({"use": "transformers"}, {"draft_length": 0}),
        ({"use": "openvino", "program": "python"}, {"draft_length": 0}),
    ],
)
def test_a_draft_length_of_0_is_off(section, config):
    system = build_system({"model": "m", **section})
    assert system.check(config) is None
    words = system.effect(config)
    assert "spec" not in words.replace("spec.json", "")
    assert "draft" not in words
    assert "assistant" not in words


@pytest.mark.parametrize(
    ("kind", "flag"),
    [
        ("ngram-mod", "--spec-ngram-mod-n-max 4 --spec-ngram-mod-n-min 4"),
        ("ngram-simple", "--spec-ngram-simple-size-m 4"),
        ("ngram-map-k", "--spec-ngram-map-k-size-m 4"),
        ("draft-mtp", "--spec-draft-n-max 4"),
    ],
)
def test_a_draft_length_of_llama_cpp_is_the_flag_of_its_kind(kind, flag):
    system = build_system({"use": "llama_cpp", "model": "m.gguf", "flags": {"spec_type": kind}})
    assert flag in " ".join(system.deploy({"draft_length": 4}).words)
