"""The header of a GGUF file is read whatever is in it: what is hostile is one error at its byte."""

import struct

import pytest

from autotune.errors import EnvironmentProblem, SpecError
from autotune.init.gguf_header import read_header
from tests_described import gguf_bytes, text

STRINGS = struct.pack("<II", 9, 8)  # an array of texts


def read(tmp_path, data):
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    return read_header(path)


def test_the_header_tells_metadata_and_the_number_of_weights(tmp_path):
    words = STRINGS + struct.pack("<Q", 3) + text("a") + text("bc") + text("")
    found = read(
        tmp_path,
        gguf_bytes(
            {
                "general.architecture": "llama",
                "llama.block_count": 7,
                "tokenizer.ggml.tokens": words,
                "f": struct.pack("<If", 6, 0.5),
                "b": struct.pack("<I?", 7, True),
                "n": struct.pack("<IIQ3i", 9, 5, 3, 1, 2, 3),
            },
            tensors=((64, 10), (5,)),
        ),
    )
    assert found.text("general.architecture") == "llama"
    assert found.number("llama.block_count") == 7
    assert found.values["f"] == 0.5
    assert found.values["b"] is True
    assert found.number("b") is None
    assert found.lengths == {"tokenizer.ggml.tokens": 3, "n": 3}
    assert found.parameters == 645


def test_a_file_written_here_is_read_back(tmp_path):
    from autotune.systems.served.tiny import tiny_files

    file = tiny_files().gguf("F16")
    if not file.exists():
        pytest.skip("the small model is not made on this machine")
    found = read_header(file)
    assert found.number("llama.block_count") == 6
    assert found.size / 2 / 1.1 < found.parameters < found.size / 2


HUGE = struct.pack("<Q", 1 << 60)
HOSTILE = {
    "empty": (b"", "is no GGUF file"),
    "magic": (gguf_bytes(magic=b"GGML"), "is no GGUF file: it begins with b'GGML'"),
    "version": (gguf_bytes(version=9), "version 9 of GGUF is not known"),
    "swapped": (gguf_bytes(version=3 << 24), "its bytes are swapped"),
    "keys": (gguf_bytes(keys=1 << 62), "it claims 4,611,686,018,427,387,904 keys"),
    "tensors": (b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 0), "it claims 1,099,511,627,776 tensors"),
    "text": (gguf_bytes({"k": struct.pack("<I", 8) + HUGE}), "'k' claims 1,152,921,504,606,846,976 bytes"),
    "key": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 50) + b"x" * 100, "a key claims"),
    "array": (
        gguf_bytes({"k": struct.pack("<II", 9, 5) + HUGE}),
        "'k' claims 1,152,921,504,606,846,976 items",
    ),
    "words": (gguf_bytes({"k": STRINGS + struct.pack("<Q", 1000) + HUGE * 1000}), "an item of 'k'"),
    "nested": (gguf_bytes({"k": struct.pack("<IIQ", 9, 9, 1)}), "an array of arrays"),
    "kind": (gguf_bytes({"k": struct.pack("<I", 77)}), "'k' has the unknown type 77"),
    "items": (gguf_bytes({"k": struct.pack("<IIQ", 9, 77, 1)}), "items of the unknown type 77"),
    "dimensions": (gguf_bytes(tensors=((1,) * 900,)), "claims 900 dimensions"),
    "weights": (gguf_bytes(tensors=((1 << 40, 1 << 40),)), "more than the file can hold"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_clear_error(tmp_path, name):
    data, said = HOSTILE[name]
    with pytest.raises(SpecError) as caught:
        read(tmp_path, data)
    assert said in caught.value.message
    assert "m.gguf" in caught.value.message
    assert "\n" not in caught.value.message


def test_a_file_cut_off_anywhere_is_an_error_and_never_another(tmp_path):
    whole = gguf_bytes(
        {"general.architecture": "llama", "k": STRINGS + struct.pack("<Q", 2) + text("ab") * 2}
    )
    end = len(whole) - 8192
    for length in range(end):
        with pytest.raises(SpecError):
            read(tmp_path, whole[:length])


def test_random_damage_is_an_error_or_a_header(tmp_path):
    import random

    rng = random.Random(0)
    whole = gguf_bytes()
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(whole) - 8192)] = rng.randrange(256)
        try:
            found = read(tmp_path, bytes(data))
        except SpecError:
            continue
        assert found.parameters <= 16 * found.size * 100


def test_what_is_no_file_is_not_opened(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(SpecError, match="is no regular file"):
        read_header(tmp_path / "pipe.gguf")
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        read_header(tmp_path / "none.gguf")
