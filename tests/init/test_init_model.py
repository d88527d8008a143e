"""What a model is, from files that a stranger wrote, and what names one."""

import json
import struct

import pytest

from autotune.errors import EnvironmentProblem, SpecError
from autotune.init.find_model import find_model, looks_like_model
from tests_described import gguf_bytes, write_config

QWEN = {  # config.json of Qwen3-8B, as the hub has it
    "architectures": ["Qwen3ForCausalLM"],
    "head_dim": 128,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "max_position_embeddings": 40960,
    "model_type": "qwen3",
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 151936,
}
MIXTRAL = {
    "architectures": ["MixtralForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 32000,
}
DEEPSEEK = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_attention_heads": 128,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "quantization_config": {"quant_method": "fp8", "fmt": "e4m3"},
    "vocab_size": 129280,
}


def card(tmp_path, **values):
    return find_model(str(write_config(tmp_path / "m", **values)))


def test_sizes_are_those_of_the_published_models(tmp_path):
    found = card(tmp_path / "a", **QWEN)
    assert found.parameters == pytest.approx(8.19e9, rel=0.01)
    assert found.layers * found.kv_width * 2 == 147456  # 144 KiB a token
    assert (found.quantization, found.bits, found.context) == ("", 16.0, 40960)
    mixtral = card(tmp_path / "b", **MIXTRAL)
    assert (mixtral.parameters, mixtral.experts) == (pytest.approx(46.7e9, rel=0.01), 8)
    deepseek = card(tmp_path / "c", **DEEPSEEK)
    assert deepseek.parameters == pytest.approx(671e9, rel=0.08)
    assert deepseek.kv_width == 576  # one compressed vector, whatever the heads
    assert deepseek.quantization == "fp8 8 bits"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"quant_method": "awq", "bits": 4}, "awq 4 bits"),
        ({"quant_method": "gptq", "bits": 8}, "gptq 8 bits"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4}}},
            },
            "compressed-tensors 4 bits",
        ),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes 4 bits"),
        ({"quant_method": 7, "bits": "many"}, "quantized 8 bits"),
        ({"quant_method": "x\x1b[2J\n- a: b"}, "x\\x1b[2J - a: b 8 bits"),
    ],
)
def test_a_checkpoint_that_is_quantized_says_how(tmp_path, section, said):
    found = card(tmp_path, quantization_config=section)
    assert found.quantization == said
    assert found.stored == 200_000  # the bytes that it has


def test_a_multimodal_model_is_its_language_model(tmp_path):
    outer = {"architectures": ["Gemma3ForConditionalGeneration"], "vision_config": {}, "text_config": QWEN}
    found = card(tmp_path, **dict.fromkeys(("num_hidden_layers", "hidden_size"), ...), **outer)
    assert (found.layers, found.hidden, found.architecture) == (36, 4096, "Gemma3ForConditionalGeneration")
    assert "text alone" in found.notes[0]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"num_hidden_layers": "many"},
            ":1:85: num_hidden_layers must be a whole number from 1 to 1,073,741,824, found 'm",
        ),
        ({"num_hidden_layers": True}, "found True"),
        ({"hidden_size": -1}, "hidden_size must be a whole number"),
        ({"hidden_size": 1e300}, "hidden_size must be a whole number"),
        ({"vocab_size": [1, 2]}, "vocab_size must be a whole number from 0"),
        ({"num_attention_heads": {"a": 1}}, "num_attention_heads must be a whole number"),
        (
            {"num_hidden_layers": ...},
            "num_hidden_layers must be a whole number from 1 to 1,073,741,824, it is missing",
        ),
        ({"architectures": ["BertModel"]}, "BertModel generates no text: it embeds, classifies or sees"),
        ({"architectures": ["Qwen3Model"]}, "Qwen3Model generates no text"),
        ({"architectures": ["ViTForImageClassification"]}, "ViTForImageClassification generates no text"),
        (
            {"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True},
            "is an encoder-decoder",
        ),
    ],
)
def test_what_is_wrong_with_a_configuration_is_said_with_its_place(tmp_path, values, said):
    with pytest.raises(SpecError) as caught:
        card(tmp_path, **values)
    assert str(tmp_path / "m" / "config.json") in caught.value.message
    assert said in caught.value.message


def test_unknown_architectures_are_taken_as_they_are(tmp_path):
    assert card(tmp_path / "a", architectures=["NovelForCausalLM"]).architecture == "NovelForCausalLM"
    assert card(tmp_path / "b", architectures=..., model_type="novel").architecture == "novel"
    assert (
        card(tmp_path / "c", architectures=["ChatGLMModel"], auto_map={"AutoModelForCausalLM": "x.Y"}).layers
        == 2
    )
    assert (
        card(
            tmp_path / "d",
            architectures=["MambaForCausalLM"],
            num_attention_heads=...,
            num_key_value_heads=...,
        ).heads
        == 0
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a mapping"),
        ("7", "must be a mapping"),
        ("", "not valid JSON"),
        ("[" * 100_000, "nested too deep"),
        ('{"a": ' + "9" * 5000 + "}", "too many digits"),
    ],
)
def test_what_is_no_configuration_is_one_error(tmp_path, text, said):
    folder = write_config(tmp_path / "m")
    (folder / "config.json").write_text(text)
    with pytest.raises(SpecError, match=said) as caught:
        find_model(str(folder))
    assert len(caught.value.message) < 1000


def test_folders_that_hold_no_model_say_what_is_missing(tmp_path):
    write_config(tmp_path / "config", weights=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text("{}")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "model_index.json").write_text("{}")
    for name, kind, said in (
        ("config", EnvironmentProblem, "no weights"),
        ("empty", EnvironmentProblem, "holds no model"),
        ("lora", SpecError, "is an adapter"),
        ("images", SpecError, "generates images"),
    ):
        with pytest.raises(kind, match=said):
            find_model(str(tmp_path / name))


def test_gguf_files_of_one_model_are_found_together(tmp_path):
    for name, size in (("m-Q4_K_M", 0), ("m-Q8_0", 4000), ("m-f16", 9000), ("other-Q8_0", 0)):
        (tmp_path / f"{name}.gguf").write_bytes(gguf_bytes() + b"\0" * size)
    (tmp_path / "m-Q2_K.gguf").write_bytes(b"<html>not found</html>")
    found = find_model(str(tmp_path / "m-Q8_0.gguf"))
    assert found.model == str(tmp_path / "m-{quantization}.gguf")
    assert [tag for tag, _ in found.choices] == ["Q4_K_M", "Q8_0", "f16"]
    assert (found.choice, found.title) == ("Q8_0", "m-Q8_0.gguf")
    with pytest.raises(SpecError, match="has 4 GGUF files: name one"):
        find_model(str(tmp_path))


def test_a_split_file_needs_all_its_parts(tmp_path):
    for n in (1, 2):
        (tmp_path / f"m-Q8_0-0000{n}-of-00003.gguf").write_bytes(gguf_bytes())
    with pytest.raises(EnvironmentProblem, match="1 of 3 parts are missing, first m-Q8_0-00003-of-00003"):
        find_model(str(tmp_path))
    (tmp_path / "m-Q8_0-00003-of-00003.gguf").write_bytes(gguf_bytes())
    assert find_model(str(tmp_path)).stored == 3 * len(gguf_bytes())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"general.architecture": "bert"}, "a bert model generates no text"),
        ({"general.architecture": "nomic-bert"}, "generates no text"),
        ({"general.architecture": "clip", "general.type": "mmproj"}, "a clip mmproj generates no text"),
        ({"general.name": "x"}, "names no general.architecture"),
        (
            {"general.architecture": "llama", "llama.block_count": "seven"},
            "llama.block_count must be a whole number",
        ),
        (
            {"general.architecture": "llama", "llama.block_count": 1 << 40},
            "llama.block_count must be a whole number",
        ),
    ],
)
def test_gguf_files_that_cannot_be_served_say_why(tmp_path, values, said):
    (tmp_path / "x.gguf").write_bytes(gguf_bytes(values))
    with pytest.raises(SpecError, match=said):
        find_model(str(tmp_path / "x.gguf"))


def test_heads_that_differ_by_layer_are_not_known(tmp_path):
    heads = struct.pack("<IIQ2i", 9, 5, 2, 4, 8)
    (tmp_path / "x.gguf").write_bytes(
        gguf_bytes({"general.architecture": "llama", "llama.attention.head_count": heads})
    )
    assert find_model(str(tmp_path / "x.gguf")).heads == 0


def hub(tmp_path, monkeypatch, name="org/model", weights=True):
    cache = tmp_path / "hub"
    revision = "a" * 40
    folder = cache / f"models--{name.replace('/', '--')}"
    write_config(folder / "snapshots" / revision, weights=weights)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revision)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_a_name_of_the_hub_is_read_from_its_cache(tmp_path, monkeypatch):
    hub(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    found = find_model("org/model")
    assert (found.model, found.layers, found.present) == ("org/model", 2, True)
    hub(tmp_path, monkeypatch, "org/partial", weights=False)
    partial = find_model("org/partial")
    assert not partial.present
    assert "downloads them" in partial.notes[-1]


def test_a_link_that_leads_nowhere_is_told(tmp_path, monkeypatch):
    hub(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop.gguf").symlink_to("loop.gguf")
    (tmp_path / "gone").symlink_to("weights/model.gguf")
    for name, said in (
        ("./loop.gguf", r"^\./loop\.gguf is a link that leads back to itself"),
        ("loop.gguf", "is a link that leads back to itself"),
        ("./gone", "is a link to weights/model.gguf, which is not there"),
        ("gone", "is a link to weights/model.gguf, which is not there"),
    ):
        with pytest.raises(EnvironmentProblem, match=said) as caught:
            find_model(name)
        assert "did you mean" not in caught.value.hint


def test_a_name_that_cannot_be_had_is_one_error(tmp_path, monkeypatch):
    hub(tmp_path, monkeypatch)
    for name, said in (
        ("org/other", "is no folder or file here, nor in the hub's cache"),
        ("./none", "no such file or folder: ./none"),
        ("a b/c", "no such file or folder"),
        ("x.gguf", "no such file or folder"),
    ):
        with pytest.raises(EnvironmentProblem, match=said) as caught:
            find_model(name)
        assert caught.value.exit_code == 3
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EnvironmentProblem, match=r"127\.0\.0\.1:9 does not answer"):
        find_model("org/other")
    for name in ("", "  ", "a\nb", "a\x1bb"):
        with pytest.raises(SpecError, match="names no model"):
            find_model(name)


def test_a_model_that_ollama_has_is_read_from_its_store(tmp_path, monkeypatch):
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    digest = "b" * 64
    manifest = tmp_path / "manifests" / "registry.ollama.ai" / "library" / "llama3.2"
    manifest.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}
    (manifest / "3b").write_text(json.dumps({"layers": [layer]}))
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / f"sha256-{digest}").write_bytes(gguf_bytes())
    found = find_model("llama3.2:3b", "ollama")
    assert (found.model, found.layers) == ("llama3.2:3b", 2)
    with pytest.raises(EnvironmentProblem, match=r"Ollama has no 'llama3\.2'"):
        find_model("llama3.2", "ollama")
    (manifest / "bad").write_text(json.dumps({"layers": [{**layer, "digest": "sha256:../../etc/passwd"}]}))
    with pytest.raises(SpecError, match="is no manifest"):
        find_model("llama3.2:bad", "ollama")
    with pytest.raises(SpecError, match="is no name"):
        find_model("../../etc", "ollama")


def test_a_word_is_a_model_a_file_or_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text("name: x")
    (tmp_path / "plain").write_text("name: x")
    (tmp_path / "weights.bin").write_bytes(gguf_bytes())
    (tmp_path / "folder").mkdir()
    models = ("tiny", "folder", "weights.bin", "org/model", "m.gguf")
    assert [looks_like_model(word) for word in models] == [True] * 5
    assert [looks_like_model(word) for word in ("study.yaml", "plain", "other.yaml", "a/b.yaml", "word")] == [
        False
    ] * 5
    with pytest.raises(SpecError, match="is of the catalogue"):
        looks_like_model("vllm")
    (tmp_path / "vllm").mkdir()
    with pytest.raises(SpecError, match="is a folder here and a search space of the catalogue"):
        looks_like_model("vllm")
    assert looks_like_model("./vllm")
