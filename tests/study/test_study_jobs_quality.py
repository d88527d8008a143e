"""What of the quality check travels with an attempt, and who waits for the default's answers."""

from autotune.core.measurement import Measurement
from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.study.jobs import compares_answers, quality_wanted
from autotune.study.scheduler import awaits_default
from autotune.study.study_file import read_study

STUDY = """
parameters:
  bits: {type: ordinal, values: [16, 4], default: 16}
system: {use: function, call: "mine.py:run"}
quality: {prompts: 2, agreement: %s}
objective: {maximize: speed}
"""
ANSWERS = [{"text": "a", "tokens": [1]}, {"text": "b", "tokens": [2]}]


def spec_of(tmp_path, agreement="true"):
    (tmp_path / "mine.py").write_text("def run(config): pass\n")
    path = tmp_path / "s.yaml"
    path.write_text(STUDY % agreement)
    return read_study(path)


def trial(number, bits, state=TrialState.COMPLETED, **facts):
    measurement = Measurement(facts=facts) if state.finished else None
    return Trial(number, Suggestion({"bits": bits}, Reason.INITIAL), state, 1, measurement)


def test_the_first_answers_of_the_default_travel_with_every_attempt(tmp_path):
    spec = spec_of(tmp_path)
    history = [
        trial(0, 4, quality={"answers": ["of another configuration"]}),
        trial(1, 16, TrialState.INFEASIBLE, quality={}),
        trial(2, 16, quality={"answers": ANSWERS}),
        trial(3, 16, quality={"answers": ["later ones"]}),
    ]
    wanted = quality_wanted(spec, {"bits": 4}, history)
    assert wanted["reference"] == ANSWERS
    assert not wanted["is_default"]
    assert len(wanted["prompts"]) == 2
    assert quality_wanted(spec, {"bits": 16}, [])["is_default"]
    assert quality_wanted(spec, {"bits": 16}, [])["reference"] is None


def test_others_wait_only_while_the_default_is_being_measured(tmp_path):
    other, default = trial(1, 4, TrialState.WAITING), trial(1, 16, TrialState.WAITING)
    running, done = trial(0, 16, TrialState.RUNNING), trial(0, 16, quality={"answers": ANSWERS})
    assert awaits_default(other, default.key, [running])
    assert awaits_default(other, default.key, [default], [default])
    assert not awaits_default(default, default.key, [running])
    assert not awaits_default(other, default.key, [done])
    assert not awaits_default(other, default.key, [done, trial(1, 16, TrialState.RUNNING)])
    assert not awaits_default(other, default.key, [trial(0, 16, TrialState.INFEASIBLE)])
    assert compares_answers(spec_of(tmp_path))
    assert not compares_answers(spec_of(tmp_path, "false"))
