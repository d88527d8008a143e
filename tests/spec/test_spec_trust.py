"""What a study may take from a search space of a stranger, where it comes from, and what its owner says."""

import json
import os
import sys

import pytest

from autotune import load_space
from autotune.cli import main
from autotune.core.space import Space
from autotune.errors import SpecError
from autotune.ledger import Ledger
from autotune.spec.catalogue import names
from autotune.study.study_file import read_stored_study, read_study

STRANGER = """system:
  use: vllm
  model: evil/model
  flags: {trust_remote_code: true, host: 0.0.0.0, config: /etc/evil.yaml, max_model_len: 4096}
parameters:
  worker_extension_cls: {type: categorical, values: [evil.Extension], default: evil.Extension}
  max_num_seqs: {type: int, low: 8, high: 64, powers_of: 2}
objective: throughput
"""
PLAIN = "parameters:\n  max_num_seqs: {type: int, low: 8, high: 64, powers_of: 2}\nsystem: {use: vllm}\n"
OWN = "system: {use: vllm, model: mine}\n"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write files into an empty folder, which is the working folder too."""
    monkeypatch.chdir(tmp_path)

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        return tmp_path

    yield write
    assert not list(tmp_path.rglob("canary*")), "something was run"


def refused(folder, name="study"):
    with pytest.raises(SpecError) as caught:
        read_study(folder / f"{name}.yaml")
    return caught.value


def test_the_error_names_place_reason_and_the_others_and_what_to_do(files):
    error = refused(files(theirs=STRANGER, study="space: ./theirs.yaml\n"))
    assert error.message.endswith(
        "theirs.yaml:3:3: model: evil/model: a search space may not say this, only the study's own file: it "
        "names a model; the same of trust_remote_code: true (loads code); host: 0.0.0.0 (names a host, a "
        "port or a URL); config: /etc/evil.yaml (names a path); parameter 'worker_extension_cls' (loads code)"
    )
    assert "--trust-space" in error.hint
    assert "your own study file" in error.hint


def test_what_is_trusted_is_listed_and_kept_with_the_study(files):
    folder = files(theirs=STRANGER, study="space: ./theirs.yaml\n")
    spec = read_study(folder / "study.yaml", trust_space=True)
    assert [line.partition("theirs.yaml")[2] for line in spec.trusted] == [
        ":3:3: model: evil/model: names a model",
        ":4:11: trust_remote_code: true: loads code",
        ":4:36: host: 0.0.0.0: names a host, a port or a URL",
        ":4:51: config: /etc/evil.yaml: names a path",
        ":6:3: parameter 'worker_extension_cls': loads code",
    ]
    stored = read_stored_study(json.loads(json.dumps(spec.to_dict())))
    assert stored.trusted == spec.trusted
    assert stored.system == spec.system
    plain = read_study(
        files(theirs=PLAIN, study="space: ./theirs.yaml\n" + OWN) / "study.yaml", trust_space=True
    )
    assert plain.trusted == ()
    assert "trusted" not in plain.to_dict()


def test_a_study_file_cannot_say_itself_that_it_is_trusted(files):
    for where in ("theirs", "study"):
        texts = {"theirs": PLAIN, "study": "space: ./theirs.yaml\n" + OWN}
        texts[where] += "trusted: [x]\n"
        assert "unknown key 'trusted'" in refused(files(**texts)).message


def test_a_file_that_is_run_itself_is_its_owners(files):
    spec = read_study(files(study=STRANGER) / "study.yaml")
    assert spec.system.section["model"] == "evil/model"
    assert spec.trusted == ()


@pytest.mark.parametrize("name", names("search_spaces"))
def test_every_shipped_space_says_nothing_that_a_stranger_may_not(files, name):
    system = "{use: command, argv: [echo]}" if name == "inference_time_compute" else "{model: mine}"
    folder = files(study=f"space: {name}\nsystem: {system}\n")
    assert read_study(folder / "study.yaml").trusted == ()


@pytest.mark.parametrize("way", ["./theirs.yaml", "{folder}/theirs.yaml", "./link.yaml",
                                 "./sub/../theirs.yaml", "./linked/theirs.yaml", "./vllm.yaml",
                                 "./search_spaces/vllm.yaml",
                                 "./autotune/_catalogue/search_spaces/vllm.yaml"])  # fmt: skip
def test_a_space_is_a_strangers_by_whatever_path_it_comes(files, way):
    folder = files(theirs=STRANGER, vllm=STRANGER, study=f"space: {way}\n".replace("{folder}", os.getcwd()))
    for name in ("sub", "search_spaces", "autotune/_catalogue/search_spaces"):
        (folder / name).mkdir(parents=True)
        (folder / name / "vllm.yaml").write_text(STRANGER)
    (folder / "link.yaml").symlink_to("theirs.yaml")
    (folder / "linked").symlink_to(".")
    assert ": model: evil/model: a search space may not" in refused(folder).message


def test_a_space_of_a_space_is_a_strangers_too(files):
    folder = files(
        deep=STRANGER,
        middle="space: ./deep.yaml\n"
        "parameters: {worker_extension_cls: {type: bool}, middleware: {type: bool}}\n"
        "system: {flags: {uds: /x}}\n",
        study="space: ./middle.yaml\n",
        own="space: ./middle.yaml\nsystem: {model: mine, flags: {}}\n"
        "parameters: {worker_extension_cls: {type: bool}, middleware: {type: bool}}\n",
    )
    message = refused(folder).message
    assert "deep.yaml:3:3: model: evil/model" in message
    for text in ("uds: /x", "'worker_extension_cls'", "'middleware'"):
        assert text in message
    assert read_study(folder / "own.yaml").system.section["flags"] == {}


def test_what_the_owner_repeats_is_the_owners(files):
    theirs = STRANGER.replace("trust_remote_code: true, host: 0.0.0.0, config: /etc/evil.yaml, ", "")
    entry = "worker_extension_cls: {type: categorical, values: [my.Worker]}"
    folder = files(
        theirs=theirs,
        study=f"space: ./theirs.yaml\nsystem: {{model: mine}}\nparameters: {{{entry}}}\n",
        name_only="space: ./theirs.yaml\nsystem: {model: mine}\n"
        "parameters: {worker_extension_cls: {description: x}}\n",
        values="space: ./theirs.yaml\nsystem: {model: mine}\n"
        "parameters: {worker_extension_cls: {values: [my.Worker], default: my.Worker}}\n",
    )
    assert read_study(folder / "study.yaml").space["worker_extension_cls"].levels == ("my.Worker",)
    assert read_study(folder / "values.yaml").space["worker_extension_cls"].levels == ("my.Worker",)
    error = refused(folder, "name_only")  # its values are the stranger's still
    assert "theirs.yaml:6:54: worker_extension_cls: evil.Extension" in error.message


LOADER = "{type: categorical, values: [auto, evil_loader], default: auto}"


@pytest.mark.parametrize(
    ("theirs", "own", "said"),
    [
        (f"load_format: {LOADER}", "load_format: {default: auto}", "load_format: evil_loader"),
        (f"load_format: {LOADER}", "load_format: {}", "load_format: evil_loader"),
        (f"load_format: {LOADER}", "load_format: {values: [auto, dummy]}", ""),
        ("trust_remote_code: {type: bool}", "trust_remote_code: {default: false}", "'trust_remote_code'"),
        ("trust_remote_code: {type: bool}", "trust_remote_code: {type: bool}", ""),
        ("port: {type: int, low: 1, high: 9, default: 1}", "port: {low: 1}", "port: 1"),
        ("port: {type: int, low: 1, high: 9}", "port: {low: 1}", "'port'"),
        ("port: {type: int, low: 1, high: 9}", "port: {low: 8001, high: 8002}", ""),
        ("max_num_seqs: {type: int, low: 1, high: 9}", "max_num_seqs: {default: 3}", ""),
        (
            f"dtype: {LOADER}",
            "max_num_seqs: {type: int, low: 1, high: 2}}\nderived: {load_format: dtype",
            "load_format: evil_loader",
        ),
    ],
)
def test_a_name_that_the_owner_repeats_confirms_no_values(files, theirs, own, said):
    folder = files(
        theirs=f"system: {{use: vllm}}\nparameters: {{{theirs}}}\n",
        study=f"space: ./theirs.yaml\nsystem: {{model: mine}}\nparameters: {{{own}}}\n",
    )
    if said:
        assert said in refused(folder).message
        assert read_study(folder / "study.yaml", trust_space=True).trusted
    else:
        assert read_study(folder / "study.yaml").trusted == ()


def test_what_is_set_on_the_command_line_is_the_owners(files):
    folder = files(theirs=STRANGER, study="space: ./theirs.yaml\n")
    sets = ("system.model=mine", "system.flags={trust_remote_code: true}",
            "parameters.worker_extension_cls={type: categorical, values: [my.Worker]}")  # fmt: skip
    assert read_study(folder / "study.yaml", sets).trusted == ()


THEIRS = [
    ("system: {use: vllm, model: /models/theirs}", "names a model"),
    ("system: {use: vllm, draft_model: evil/draft}", "names a model"),
    (
        "system: {use: vllm, flags: {speculative_config: {method: draft_model, model: evil/draft}}}",
        "no key that",
    ),
    ("system: {use: vllm, flags: {chat_template: '{{ evil }}'}}", "names a path"),
    ("system: {use: transformers, device: /dev/x}", "may hold a path"),
    ("system: {use: toy}", "loads code"),
    ("engine: {use: their_engine}", "loads code"),
    ("engine: their_engine", "loads code"),
    ("derived: {trust_remote_code: max_num_seqs > 0}", "loads code"),
]


@pytest.mark.parametrize(("line", "reason"), THEIRS)
def test_keys_of_a_space_that_are_the_owners(files, line, reason):
    text = PLAIN if not line.startswith("system") else PLAIN.replace("system: {use: vllm}\n", "")
    folder = files(theirs=f"{text}{line}\n", study="space: ./theirs.yaml\nsystem: {model: mine}\n")
    if "model:" in line and "speculative" not in line:
        (folder / "study.yaml").write_text("space: ./theirs.yaml\n")
    error = refused(folder)
    assert "theirs.yaml:" in error.message
    assert reason in error.message


def test_a_system_of_a_third_party_is_not_even_imported_for_a_stranger(files, monkeypatch):
    from autotune.systems.registry import SYSTEMS

    folder = files(
        theirs="parameters: {a: {type: bool}}\nsystem: {use: toy}\n", study="space: ./theirs.yaml\n"
    )
    loaded = []
    monkeypatch.setattr(SYSTEMS, "load", loaded.append)
    message = refused(folder).message
    assert "use: toy" in message
    assert "parameter 'a'" in message
    assert loaded == []


@pytest.mark.parametrize(
    ("argv", "good"),
    [
        ("[echo, '{a}']", True),
        ("[echo]", False),
        ("[echo, '{parameters}']", False),
        ("['{python}', x.py]", False),
    ],
)
def test_a_program_gets_the_parameters_that_its_owner_names(files, argv, good):
    theirs = "parameters: {a: {type: bool}, python: {type: categorical, values: [canary]}}\n"
    if good:
        theirs = "parameters: {a: {type: bool}}\nderived: {b: a}\n"
    system = f"system: {{use: command, argv: {argv}}}\nobjective: {{maximize: speed}}\n"
    folder = files(theirs=theirs, study=f"space: ./theirs.yaml\n{system}")
    if good:
        assert read_study(folder / "study.yaml").trusted == ()
        return
    message = refused(folder).message
    assert "parameter 'a'" in message
    assert "parameter 'python'" in message


def test_an_endpoint_gets_fields_of_sampling_alone_from_a_stranger(files):
    theirs = "parameters: {{{name}: {{type: int, low: 1, high: 2}}}}\nobjective: throughput\n"
    study = "space: ./theirs.yaml\nsystem: {use: openai_server, url: 'http://127.0.0.1:1'}\n"
    assert read_study(files(theirs=theirs.format(name="top_k"), study=study) / "study.yaml")
    assert "changes what is served" in refused(files(theirs=theirs.format(name="chat_template"))).message
    assert "nobody" not in refused(files(theirs=theirs.format(name="model"))).message
    assert "may be new" in refused(files(theirs=theirs.format(name="new_field"))).message


def test_a_table_of_a_stranger_is_a_space_too(files):
    from autotune.core.measured_table import MeasuredRow, MeasuredTable, write_table
    from autotune.core.measurement import Estimate

    folder = files(study="space: {table: t.csv.gz}\nsystem: {use: vllm, model: mine}\n")
    space = Space.from_dict({"parameters": {"worker_cls": {"type": "categorical", "values": ["evil.W"]}}})
    rows = (MeasuredRow({"worker_cls": "evil.W"}, {"output_throughput": Estimate(1.0)}),)
    objective = {"maximize": "output_throughput"}
    write_table(folder / "t.csv.gz", MeasuredTable("t", "t", space, objective, rows))
    assert "study.yaml:1:16: parameter 'worker_cls'" in refused(folder).message
    (folder / "study.yaml").write_text("space: {table: t.csv.gz}\nsystem: {use: replay, table: t.csv.gz}\n")
    assert read_study(folder / "study.yaml").space.names == ("worker_cls",)


def test_python_reads_parameters_alone(files):
    folder = files(theirs=STRANGER)
    for read in (load_space, Space.from_yaml):
        assert read(folder / "theirs.yaml").to_dict().keys() == {"parameters"}


def test_the_commands_refuse_a_stranger_and_print_what_is_trusted(files, capsys):
    """Run, measure, sweep and check; resume goes on with the ledger's study and says it again."""
    theirs = "parameters: {a: {type: int, low: 1, high: 2}}\nbudget: {trials: 1, confirm: 0}\n"
    program = json.dumps([sys.executable, "-c", "print('{{\"speed\": 1}}')"])
    system = f"system: {{use: command, argv: {program}}}\nobjective: {{maximize: speed}}\n"
    folder = files(
        theirs=theirs, study=f"space: ./theirs.yaml\n{system}tracking: {{mlflow: none}}\nengine: random\n"
    )
    commands = (["check"], ["run", "--local", "-q"], ["measure"], ["sweep", "-q"])
    for command in commands:
        assert main([*command, "study.yaml"]) == 2
        assert "theirs.yaml:1:14: parameter 'a': a search space may not" in capsys.readouterr().err
    assert not (folder / "autotune-runs").exists()
    for command in commands:
        main([*command, "study.yaml", "--trust-space"])
        assert "trusted: theirs.yaml:1:14: parameter 'a': is no flag that" in capsys.readouterr().err
    with Ledger.open(folder / "autotune-runs" / "ledger.sqlite", read_only=True) as ledger:
        assert "parameter 'a'" in ledger.studies()[0].spec["trusted"][0]
    for more in ([], ["--trust-space"]):
        assert main(["resume", "study", "--local", "-q", *more]) in (0, 4)
        assert "trusted: theirs.yaml:1:14: parameter 'a'" in capsys.readouterr().err


def test_check_of_a_stranger_launches_nothing(files, capsys, monkeypatch):
    """Neither the stranger's model nor the program that a flag would load is touched."""
    import subprocess

    started = []
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda *args, **_: started.append(args))
    files(theirs=STRANGER.replace("vllm", "transformers_serve"), study="space: ./theirs.yaml\n")
    assert main(["check", "study.yaml"]) == 2
    assert "trust_remote_code: true (loads code)" in capsys.readouterr().err
    assert started == []
