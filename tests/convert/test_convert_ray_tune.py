"""Search spaces of Ray Tune: read from the text of a file, never run, and equal to what Tune draws."""

import json
import pickle
from pathlib import Path

import pytest

from autotune.convert.formats import convert
from autotune.core.space import Space
from autotune.errors import SpecError
from autotune.study.study_file import read_study

DRAWN = """
from ray import tune
WIDE = 2 ** 6
space = {
    "uniform": tune.uniform(0, 1),
    "keyword": tune.uniform(upper=-1.5, lower=-2),
    "quniform": tune.quniform(0.3, 0.6, 0.1),
    "quniform_whole": tune.quniform(8, WIDE, 8),
    "loguniform": tune.loguniform(1e-5, 1e-1),
    "qloguniform": tune.qloguniform(0.5, 8, 0.5),
    "randint": tune.randint(1, 9),
    "qrandint": tune.qrandint(8, WIDE, 8),
    "qrandint_one": tune.qrandint(1, 4),
    "lograndint": tune.lograndint(1, 1024),
    "qlograndint": tune.qlograndint(8, 512, 8),
    "choice": tune.choice(["a", None, 3, 2.5, True]),
    "numbers": tune.choice([2 ** i for i in range(3, 8)]),
    "ranged": tune.choice(list(range(1, 5))),
    "outer": {"inner": tune.randint(-3, 3), "deep": {"q": tune.choice([False, True])}},
}
"""


def test_every_value_that_tune_draws_is_allowed_and_none_beside(tmp_path):
    file = tmp_path / "s.py"
    file.write_text(DRAWN)
    found = convert(f"{file}:space")
    space = Space.from_dict(found.study["parameters"])
    real: dict = {}
    exec(DRAWN, real)  # our own text, to ask Tune itself
    flat = {}
    for name, domain in real["space"].items():
        if isinstance(domain, dict):
            flat |= {"outer_inner": domain["inner"], "outer_deep_q": domain["deep"]["q"]}
        else:
            flat[name] = domain
    assert set(flat) == set(space.names)
    for name, domain in flat.items():
        drawn = {"none" if v is None else v for v in domain.sample(size=2000)}
        parameter = space[name]
        if name in ("uniform", "keyword", "loguniform"):
            assert parameter.low <= min(drawn)
            assert max(drawn) <= parameter.high
            assert max(drawn) - min(drawn) > 0.9 * (parameter.high - parameter.low)
            continue
        levels = [pytest.approx(v) if isinstance(v, float) else v for v in parameter.levels]
        assert all(value in levels for value in drawn), (name, drawn, parameter.levels)
        if len(levels) <= 100:
            # Ray 2.50 and its like never draw the upper end of quniform
            undrawn = 1 if name.startswith("quniform") and max(drawn) != levels[-1] else 0
            assert len(drawn) == len(levels) - undrawn, (name, sorted(map(str, drawn)), parameter.levels)


LINES = [
    ('"x": tune.sample_from(lambda spec: spec.config.y * 2)',
     "'x' is left out: tune.sample_from(lambda spec: spec.config.y * 2) is a function"),
    ('"x": lambda: 3', "'x' is left out: lambda: 3 is computed when the file runs"),
    ('"x": compute()', "'x' is left out: compute() is computed when the file runs"),
    ('"x": tune.choice(np.arange(3))', "'x' is left out: np.arange(3) is computed when the file runs"),
    ('"x": tune.choice([tune.uniform(0, 1), 3])', "'x' is left out: tune.uniform(0, 1) is computed"),
    ('"x": tune.choice([])', "'x' is left out: tune.choice needs a list of values, found []"),
    ('"x": tune.choice(None)', "'x' is left out: tune.choice needs a list of values, found None"),
    ('"x": tune.uniform(3, 1)', "'x' is left out: tune.uniform from 3 to 1 has no values"),
    ('"x": tune.uniform("a", 1)', "'x' is left out: lower of tune.uniform must be a number, found 'a'"),
    ('"x": tune.uniform(0)', "'x' is left out: tune.uniform needs upper"),
    ('"x": tune.uniform(0, float("inf"))', "'x' is left out: inf is no finite number"),
    ('"x": tune.quniform(0, 1, 0)', "'x' is left out: q of tune.quniform must be above 0, found 0"),
    ('"x": tune.randint(0.5, 3)', "'x' is left out: tune.randint needs whole numbers"),
    ('"x": tune.randint(0, n)', "'x' is left out: n is not assigned in this file"),
    ('"x": tune.randint(0, 1 / 0)', "'x' is left out: 1 / 0 has no value"),
    ('"x": tune.randint(0, 9 ** 9999)', "'x' is left out: 9 ** 9999 is computed when the file runs"),
    ('"x": tune.choice([0] * 10**9)', "'x' is left out: [0] * 10 ** 9 is computed when the file runs"),
    ('"x": tune.choice(range(10**9))', "'x' is left out: range(10 ** 9) has more than 10000 values"),
    ('"x": tune.newest(1)', "'x' is left out: tune.newest has no equivalent"),
    ('"x": b"abc"', "'x' is left out: b'abc' is no number, text or truth value"),
    ('compute(): 3', "left out: the key compute() is computed when the file runs"),
    ('**others', "left out: others is computed when the file runs"),
    ('"x": space', "'x' is in itself; it is left out"),
    ('"x": tune.randn(10, 2)', "'x' has no bounds; cut to 4 .. 16, the rest is its prior"),
    ('"x": tune.choice([[1, 2], {"a": 1}])', "structures among the values of 'x' are JSON texts here"),
    ('"x": None', "the value null of 'x' has no equivalent; it is called 'none'"),
    ('"x": {"y": 1}', "'x' nests parameters: they have its name in front here"),
    ('"kept": tune.uniform(0, 1)', "'kept' is set again; the last one counts"),
    ('"x y": 3', "parameter 'x y' is called 'x_y' here"),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "said"), LINES)
def test_what_has_no_equivalent_is_said_line_by_line(tmp_path, monkeypatch, entry, said):
    monkeypatch.chdir(tmp_path)
    Path("s.py").write_text(f'from ray import tune\nspace = {{"kept": tune.randint(1, 5),\n {entry}}}\n')
    found = convert("s.py")
    assert any(line.startswith("s.py:3:") and said in line for line in found.notes), found.notes
    assert "kept" in found.study["parameters"]
    Path("study.yaml").write_text(found.to_yaml())
    assert read_study("study.yaml").space.default_config


RUN = """
import ray.tune as t
from ray.tune import choice as pick, TuneConfig
open("canary", "w").write("ran")
raise SystemExit("ran")
def train(config, steps=3): ...
OPT = {"lr": t.loguniform(1e-5, 1e-1), "name": "sgd"}
base = dict(seed=7)
space: dict = {**base, "opt": OPT, "grid": t.grid_search([1, 2, 3]), "old": {"grid_search": ["x", "y"]},
               "eager": pick([True, False])} | {"more": 1}
space["late"] = t.uniform(0, 2)
space.update({"later": 5})
space.pop("more")
tuner = t.Tuner(train, param_space=space, run_config=RunConfig(name="my run"),
                tune_config=TuneConfig(metric="Mean Merit", mode="max", num_samples=4, scheduler=ASHA()))
"""


def test_a_file_is_read_and_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(RUN)
    for source in ("train.py", "train.py:space"):
        found = convert(source)
        assert not Path("canary").exists()
        assert list(found.study["parameters"]) == [
            "seed", "opt_lr", "opt_name", "grid", "old", "eager", "late", "later"
        ]  # fmt: skip
        assert found.study["name"] == "my-run"
        assert found.study["objective"] == {"maximize": "Mean_Merit"}
        assert found.study["budget"] == {"trials": 24}  # each of 2 x 3 of the grid, 4 times
        notes = "\n".join(found.notes)
        for said in ("'scheduler' has no equivalent", "metric 'Mean Merit' is called 'Mean_Merit'",
                     "read and not run"):  # fmt: skip
            assert said in notes
        Path("study.yaml").write_text(found.to_yaml())
        assert read_study("study.yaml").name == "my-run"


EIGHTFOLD = "k0 = {'x': 1}\n" + "".join(
    f"k{i} = {{{', '.join(f'{name!r}: k{i - 1}' for name in 'abcdefgh')}}}\n" for i in range(1, 9)
)

EMPTY = "k0 = {}\n" + "".join(f"k{i} = {{{', '.join([f'**k{i - 1}'] * 8)}}}\n" for i in range(1, 9))


@pytest.mark.parametrize(
    ("text", "source", "said"),
    [
        ("x = (1", "s.py", r"s\.py:1:\d+: not valid Python"),
        ("x = 3", "s.py", r"s\.py: no search space"),
        ("x = 3", "s.py:space", r"nothing is assigned to 'space'; spaces in it: none"),
        ("a = {'x': tune.uniform(0, 1)}\nb = {'y': tune.randint(0, 3)}", "s.py", "a in line 1, b in line 2"),
        ("a = {'x': tune.uniform(0, 1)}", "s.py:b", "spaces in it: a"),
        ("def f():\n  t.Tuner(g, param_space={'x': tune.uniform(0, 1)})\ndef h():\n"
         "  t.Tuner(g, param_space={'x': tune.uniform(0, 1)})", "s.py", r"it has: f in line 2, h in line 4"),
        ("a = {'x': tune.uniform(5, 1)}", "s.py", r"be converted\n.*tune.uniform from 5 to 1"),
        ("a = " + "(" * 5000, "s.py", "not valid Python"),
        ("a = " + "-" * 200_000 + "1", "s.py", "not valid Python|no search space"),
        ("a\0b", "s.py", "not valid Python"),
        (EIGHTFOLD, "s.py:k8", "more than 1000 parameters"),
        (EMPTY, "s.py:k8", "the space is too large"),
    ],
)  # fmt: skip
def test_files_that_have_no_space_are_one_clear_error(tmp_path, monkeypatch, text, source, said):
    monkeypatch.chdir(tmp_path)
    Path("s.py").write_text(text)
    with pytest.raises(SpecError, match=said):
        convert(source)


def test_values_that_grow_without_end_are_given_up(tmp_path):
    lines = ["v0 = [1, 2, 3, 4, 5, 6, 7, 8]"] + [
        f"v{i} = [{', '.join([f'v{i - 1}'] * 8)}]" for i in range(1, 15)
    ]
    lines += ["n0 = 1024 ** 100"] + [f"n{i} = n{i - 1} * n{i - 1}" for i in range(1, 15)]
    lines += ["space = {'ok': tune.uniform(0, 1), 'v': v14, 'n': tune.randint(0, n14)}"]
    file = tmp_path / "s.py"
    file.write_text("\n".join(lines))
    found = convert(str(file))
    assert list(found.study["parameters"]) == ["ok"]
    assert len([line for line in found.notes if "is left out" in line]) == 2


def test_a_space_that_a_function_returns_or_holds_is_named_by_it(tmp_path):
    file = tmp_path / "s.py"
    file.write_text(
        "from ray.tune import uniform, randint\n"
        "def space():\n  found = {'x': uniform(0, 1)}\n  return found\n"
        "def tune_it():\n  tune.run(f, config={'y': randint(0, 4)}, metric='m', mode='min')\n"
    )
    assert list(convert(f"{file}:space").study["parameters"]) == ["x"]
    assert list(convert(f"{file}:tune_it").study["parameters"]) == ["y"]


LOCAL = """
from ray import tune
SIZE = 3
def small():
    SIZE = 2
    space = {"bs": tune.randint(0, SIZE)}
    return space
def large():
    space = {"bs": tune.randint(0, SIZE)}
    space["extra"] = tune.uniform(0, 1)
    return space
"""


def test_a_function_has_its_own_names_and_the_modules(tmp_path):
    file = tmp_path / "s.py"
    file.write_text(LOCAL)
    small, large = (convert(f"{file}:{name}").study["parameters"] for name in ("small", "large"))
    assert [list(small), list(large)] == [["bs"], ["bs", "extra"]]
    assert [small["bs"]["high"], large["bs"]["high"]] == [1, 2]
    with pytest.raises(SpecError, match="it has: small in line 6, large in line 9"):
        convert(str(file))


def test_lines_of_other_scopes_and_branches_change_nothing(tmp_path):
    file = tmp_path / "s.py"
    file.write_text(
        "from ray import tune\n"
        "space = {'lr': tune.uniform(0, 1)}\n"
        "def debug():\n    space = {}\n    space['lr'] = tune.choice([0.5])\n    space['extra'] = 3\n"
        "if DEBUG:\n    space['lr'] = tune.choice([0.5])\n"
        "for key in ('x', 'y'):\n    space[key] = 3\n"
        "def tweak():\n    space.update(extra=3)\n"
        "if __name__ == '__main__':\n    space['main'] = tune.uniform(0, 1)\n"
    )
    found = convert(str(file))
    assert list(found.study["parameters"]) == ["lr", "main"]
    assert found.study["parameters"]["lr"]["type"] == "float"
    said = [line for line in found.notes if "is not read" in line]
    assert [line.split(":")[1] for line in said] == ["8", "10", "12"]


CHANGED = [
    ("del space['a']", ["n_x", "n_y"]),
    ("space.pop('n')", ["a"]),
    ("del space['n']['x'], space['a']", ["n_y"]),
    ("space['n']['z'] = tune.uniform(0, 1)", ["a", "n_x", "n_y", "n_z"]),
    ("space['n'] = tune.uniform(0, 1)", ["a", "n"]),
    ("space['n'].update(z=1)", ["a", "n_x", "n_y", "n_z"]),
    ("space |= {'z': tune.uniform(0, 1)}", ["a", "n_x", "n_y", "z"]),
    ("space['n'] |= {'z': 3}", ["a", "n_x", "n_y", "n_z"]),
    ("space.setdefault('z', 3)\nspace.setdefault('n', 3)", ["a", "n_x", "n_y", "z"]),
    ("space.update({'z': 3}, w=4)", ["a", "n_x", "n_y", "z", "w"]),
    ("more['u'] = 3\nspace.update(more)", ["a", "n_x", "n_y", "t", "u"]),
]


@pytest.mark.parametrize(("line", "names"), CHANGED)
def test_plain_lines_that_change_the_space_are_applied(tmp_path, line, names):
    file = tmp_path / "s.py"
    file.write_text(
        "more = {'t': 1}\nspace = {'a': tune.grid_search([1, 2]),\n"
        f"  'n': {{'x': tune.randint(0, 3), 'y': tune.randint(0, 5)}}}}\n{line}\n"
        "tune.run(f, num_samples=3)\n"
    )
    found = convert(f"{file}:space")
    assert list(found.study["parameters"]) == names
    assert not [line for line in found.notes if "is not read" in line]
    assert found.study["budget"] == {"trials": 6 if "a" in names else 3}


@pytest.mark.parametrize(
    "line",
    ["space[key] = 3", "del space[key]", "space.pop(key)", "space.clear()", "space.update([('z', 3)], y=2)",
     "space['x'], space['y'] = 1, 2", "space += other", "del space", "space.popitem()"],
)  # fmt: skip
def test_lines_that_change_the_space_in_other_ways_are_said(tmp_path, line):
    file = tmp_path / "s.py"
    file.write_text(f"space = {{'a': tune.randint(0, 3)}}\n{line}\n")
    found = convert(f"{file}:space")
    assert "a" in found.study["parameters"]
    assert any(note.startswith(f"{file}:2:") and "left out" in note for note in found.notes), found.notes


def test_arguments_and_loops_are_no_constants(tmp_path):
    file = tmp_path / "s.py"
    file.write_text(
        "from ray import tune\nn = 5\nm = 1\nm += 1\ndef f(n=3):\n  return n\n"
        "space = {'a': tune.randint(0, n), 'b': tune.randint(0, m), 'c': tune.randint(0, 3)}\n"
    )
    found = convert(str(file))
    assert list(found.study["parameters"]) == ["a", "c"]  # the argument is another n
    assert "m has no single value in this file" in "\n".join(found.notes)


def test_nested_names_that_meet_stay_two(tmp_path):
    file = tmp_path / "s.py"
    file.write_text("space = {'a_b': tune.randint(0, 3), 'a': {'b': tune.randint(0, 5)}}\n")
    found = convert(str(file))
    assert [entry["high"] for entry in found.study["parameters"].values()] == [2, 4]
    assert "parameter 'a_b' is called 'a_b_' here" in "\n".join(found.notes)


def test_goals_that_only_a_searcher_is_given(tmp_path):
    file = tmp_path / "s.py"
    file.write_text(
        "from ray import tune\nfrom ray.tune.search.optuna import OptunaSearch\n"
        "algo = OptunaSearch(metric=['loss', 'gain'], mode=['min', 'max'])\n"
        "space = {'c': tune.randint(0, 3)}\n"
    )
    assert convert(str(file)).study["objective"] == {"minimize": "loss", "maximize": "gain"}


class Bomb:
    """What must never be unpickled."""

    def __reduce__(self):
        return (open, ("canary", "w"))


def test_the_folder_of_an_experiment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my experiment"
    for i in range(20):
        trial = folder / f"train_{i}"
        trial.mkdir(parents=True)
        config = {
            "lr": 10.0 ** (-i / 4),
            "opt": {"name": ["sgd", "adam"][i % 2]},
            "bs": 2**i,
            "flag": i % 3 == 0,
        }
        (trial / "params.json").write_text(json.dumps(config | ({"extra": None} if i == 3 else {})))
        (trial / "params.pkl").write_bytes(pickle.dumps(Bomb()))
    found = convert(str(folder))
    assert not Path("canary").exists()
    assert found.study["name"] == "my-experiment"
    parameters = found.study["parameters"]
    assert (parameters["lr"]["scale"], parameters["lr"]["high"]) == ("log10", 1.0)
    assert (parameters["bs"]["type"], parameters["bs"]["high"]) == ("int", 2**19)
    assert parameters["opt_name"]["values"] == ["sgd", "adam"]
    assert parameters["flag"]["type"] == "bool"
    notes = "\n".join(found.notes)
    for said in ("'lr' is the range of the 20 values that were tried", "'extra' is not in every trial",
                 "distributions are not in params.json, and pickles are not opened"):  # fmt: skip
        assert said in notes
    Path("study.yaml").write_text(found.to_yaml())
    assert read_study("study.yaml").space.default_config
    one = convert(str(folder / "train_4" / "params.json"))
    assert one.study["parameters"]["bs"]["values"] == [16]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "must be a mapping"),
        ("{", "not valid JSON"),
        ('{"a": NaN}', r"params\.json:1:7: NaN is no finite number"),
        ('{"a": 1, "a": 2}', "duplicate key 'a'"),
        ("{}", "no parameter could be converted"),
    ],
)
def test_a_trial_that_cannot_be_read_is_one_clear_error(tmp_path, text, said):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "params.json").write_text(text)
    with pytest.raises(SpecError, match=said):
        convert(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "must be a mapping, found [1, 2]"),
        ('{"a": NaN}', "NaN is no finite number"),
        ("{", "not valid"),
    ],
)
def test_a_trial_that_cannot_be_read_leaves_the_others(tmp_path, text, said):
    for name, content in (("t1", '{"a": 1, "entries": 3}'), ("t2", text), ("t3", '{"a": 2, "entries": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "params.json").write_text(content)
    found = convert(str(tmp_path))
    assert found.study["parameters"]["a"]["values"] == [1, 2]
    assert found.study["parameters"]["entries"]["values"] == [3]
    (line,) = [line for line in found.notes if "this trial is left out" in line]
    assert line.startswith(str(tmp_path / "t2" / "params.json"))
    assert said in line


def test_a_folder_without_trials_is_said(tmp_path):
    with pytest.raises(SpecError, match=r"no trial with a params\.json is in this folder"):
        convert(str(tmp_path))
