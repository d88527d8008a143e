"""What a study knows of its trials stays sorted, in whatever order they change."""

import random

import pytest

from autotune.core.trial import Reason, Suggestion, Trial, TrialState
from autotune.study.history import History


def trial(number, state, reason=Reason.RANDOM):
    return Trial(number, Suggestion({"x": number}, reason), state)


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_changes_gives_what_sorting_anew_gives(seed):
    random_ = random.Random(seed)
    history, newest = History(()), {}
    for _ in range(200):
        number = random_.randrange(len(newest) + 1)
        newest[number] = trial(number, random_.choice(list(TrialState)))
        history.put(newest[number])
        in_order = [newest[n] for n in sorted(newest)]
        assert history.all() == in_order
        assert history.finished == [t for t in in_order if t.state.finished]
        assert history.pending() == [t.config for t in in_order if not t.state.finished]
        assert len(history) == len(newest)
        assert history[number] is newest[number]


def test_a_look_at_the_default_is_noticed_once_it_is_over():
    history = History([trial(0, TrialState.COMPLETED), trial(1, TrialState.RUNNING, Reason.WATCH)])
    assert not history.watched
    history.put(trial(1, TrialState.COMPLETED, Reason.WATCH))
    assert history.watched
