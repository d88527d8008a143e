import pytest

from autotune.errors import SpecError
from autotune.study.study_file import read_study

STUDY = """
parameters: {max_num_seqs: {type: int, low: 1, high: 8}}
system: {use: vllm, model: org/model}
workload: {trace: traces/t.csv, rate: 2}
"""
SPACE = STUDY.replace("system: {use: vllm, model: org/model}\n", "")


def test_files_of_a_workload_are_found_beside_the_study_and_read_beforehand(tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(STUDY)
    with pytest.raises(SpecError, match=r"cannot read the trace '.*/traces/t.csv': No such file"):
        read_study(study)
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n0,10,5\n")
    assert read_study(study).workload.trace == str(tmp_path / "traces" / "t.csv")


@pytest.mark.parametrize("key", ["trace", "prompts"])
def test_a_search_space_names_no_file_of_a_workload(tmp_path, key):
    (tmp_path / "base.yaml").write_text(SPACE.replace("trace:", f"{key}:"))
    (tmp_path / "study.yaml").write_text("space: ./base.yaml\nsystem: {use: vllm, model: org/model}\n")
    with pytest.raises(SpecError, match=f"may not say '{key}' of its workload"):
        read_study(tmp_path / "study.yaml")


@pytest.mark.parametrize("lengths", ["{file: a.txt}", "{mixture: [{file: a.txt}, {mean: 3}]}"])
def test_a_search_space_names_no_file_of_lengths(tmp_path, lengths):
    (tmp_path / "base.yaml").write_text(SPACE.replace("trace: traces/t.csv", f"prompt_tokens: {lengths}"))
    (tmp_path / "study.yaml").write_text("space: ./base.yaml\nsystem: {use: vllm, model: org/model}\n")
    with pytest.raises(SpecError, match="may not say 'prompt_tokens' of its workload"):
        read_study(tmp_path / "study.yaml")
