"""A matrix of another shape is refused where it comes in, and not computed with."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autotune.core.parameter import Int, Ordinal
from autotune.core.space import Space
from autotune.engine.gp.acquisition.botorch import BotorchAcquisition
from autotune.engine.gp.acquisition.contract import checked
from autotune.engine.gp.acquisition.hypervolume import LogHypervolumeImprovement
from autotune.engine.gp.acquisition.improvement import LogImprovement
from autotune.engine.gp.acquisition.thompson import Thompson
from autotune.engine.gp.config import GPConfig
from autotune.engine.gp.fallback import NUMERICAL
from autotune.engine.gp.model.averaged_gp import AveragedGP
from autotune.engine.gp.model.botorch import BotorchSurrogate
from autotune.engine.gp.model.candidate_table import CandidateTable
from autotune.engine.gp.model.conditioning import Sampled
from autotune.engine.gp.model.encode import Encoder
from autotune.engine.gp.model.feasibility import Feasibility
from autotune.engine.gp.model.fitted_models import FittedModels
from autotune.engine.gp.model.shapes import check_shapes
from autotune.engine.gp.model.surrogates import fit_averaged
from autotune.engine.gp.optimize.candidates import candidates
from autotune.engine.gp.optimize.local_search import climb
from autotune.engine.gp.optimize.selection import Scores, Selection
from autotune.engine.gp.problem import Problem
from autotune.engine.random import RandomEngine
from autotune.testing.engine_contract import OBJECTIVE, SPACE, finished

N, D = 8, 3
X = torch.rand(N, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = X.sum(1, keepdim=True) - X.sum(1).mean()
LEVELS = Space([Int("a", 1, 4), Ordinal("b", [1, 2, 4, 8]), Int("c", 1, 5)])
ROWS = np.array([[0, 1, 2], [3, 0, 4]], np.int32)
GRID = CandidateTable(Encoder(LEVELS), LEVELS.as_table(ROWS))


@pytest.fixture(scope="module")
def averaged():
    return fit_averaged(X, Y, torch.full_like(Y, 0.01))


@pytest.fixture(scope="module")
def of_botorch():
    return BotorchSurrogate("SingleTaskGP", X, Y, torch.full_like(Y, 0.01))


@pytest.fixture(scope="module")
def problem():
    history = []
    for i in range(6):
        (asked,) = RandomEngine().ask(SPACE, OBJECTIVE, history, [], 1, 0)
        history.append(finished(i, asked))
    return Problem(SPACE, OBJECTIVE, history, config=GPConfig())


@pytest.fixture(scope="module")
def models(problem):
    return FittedModels(problem, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("dimensions", "shape", "said"),
    [
        ("n d", (3, 8), "door: X is 3 x 8, expected n x d with n = 3, d = 3"),
        ("n d", (3,), "door: X is 3, expected n x d with d = 3"),
        ("n 1", (8,), "door: X is 8, expected n x 1"),
        ("n 1", (8, 2), "door: X is 8 x 2, expected n x 1 with n = 8"),
        ("... q d", (2, 3, 8), "door: X is 2 x 3 x 8, expected ... x q x d with q = 3, d = 3"),
        ("... q d", (3,), "door: X is 3, expected ... x q x d with d = 3"),
        ("n", (), "door: X is a single value, expected n"),
    ],
)
def test_the_error_names_the_door_the_shape_and_what_was_expected(dimensions, shape, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$") as error:
        check_shapes("door", ("X", torch.zeros(shape), dimensions), d=D)
    assert not isinstance(error.value, NUMERICAL)  # no simpler model is tried: it would hide the mistake


def test_one_name_is_one_size():
    check_shapes("door", ("X", X, "n d"), ("Y", Y, "n 1"), ("batch", X.expand(2, 4, N, D), "... q d"))
    with pytest.raises(ValueError, match="Y is 7 x 1, expected n x 1 with n = 8"):
        check_shapes("door", ("X", X, "n d"), ("Y", Y[1:], "n 1"))


def test_the_encoder_refuses_transposed_levels():
    encoder = Encoder(LEVELS)
    assert encoder.table(ROWS).shape == (2, encoder.dimension)
    with pytest.raises(ValueError, match=r"Encoder\.table: indices is 3 x 2"):
        encoder.table(ROWS.T)


def test_a_table_of_candidates_refuses_rows_that_are_no_row():
    with pytest.raises(ValueError, match=r"CandidateTable\.encode: rows is 1 x 2"):
        GRID.encode(torch.tensor([[0, 1]]))


MODEL_DOORS = {
    "each": lambda model: model.each(X.T),
    "covariance": lambda model: model.covariance(X.T, X),
    "covariance ": lambda model: model.covariance(X, X.T),
    "on_grid": lambda model: model.on_grid(GRID, torch.arange(2), X.T),
    "joint_samples": lambda model: model.joint_samples(X.T, 0),
}


@pytest.mark.parametrize("kind", ["averaged", "of_botorch"])
@pytest.mark.parametrize("door", MODEL_DOORS)
def test_a_surrogate_refuses_a_transposed_matrix(kind, door, request):
    model = request.getfixturevalue(kind)
    with pytest.raises(
        ValueError, match=rf"^{type(model).__name__}\.{door.strip()}: \w+ is 3 x 8, expected . x d"
    ):
        MODEL_DOORS[door](model)


def test_a_surrogate_predicts_from_moments_by_member():
    class MembersLast(AveragedGP):
        def each(self, X):
            means, variances = super().each(X)
            return means.mT, variances.mT

    model = fit_averaged(X, Y, torch.full_like(Y, 0.01))
    wrong = MembersLast(model.members, model.log_weights.tolist())
    with pytest.raises(ValueError, match=r"Surrogate\.predict: means is 8 x \d, expected k x n"):
        wrong.predict(X)


def test_samples_refuse_a_transposed_matrix(averaged):
    sampled = Sampled(averaged, X, averaged.log_weights, 4, 0)
    with pytest.raises(ValueError, match=r"Sampled\.moments: X is 3 x 8"):
        sampled.moments(X.T)
    with pytest.raises(ValueError, match="Sampled: points is 8, expected m x d"):
        Sampled(averaged, X[:, 0], averaged.log_weights, 4, 0)


def test_joint_samples_refuse_a_transposed_matrix(averaged):
    (samples, *_) = averaged.joint_samples(X[:2], 0)
    with pytest.raises(ValueError, match=r"SamplesOfProcess\.moments: X is 3 x 8"):
        samples.moments(X.T)


def test_as_a_model_of_botorch_it_refuses_them_too(averaged):
    assert averaged.posterior(X.expand(2, N, D)).mean.shape == (2, N, 1)
    with pytest.raises(ValueError, match=r"AveragedGP\.posterior: X is 3 x 8"):
        averaged.posterior(X.T)
    with pytest.raises(ValueError, match=r"condition_on_observations: Y is 8, expected \.\.\. x q x 1"):
        averaged.condition_on_observations(X, Y.squeeze(-1))


@pytest.mark.parametrize("fit", [fit_averaged, lambda *data: BotorchSurrogate("SingleTaskGP", *data)])
@pytest.mark.parametrize("wrong", [(X.T, Y, Y), (X, Y.T, Y), (X, Y, Y[:, 0])], ids=["X", "Y", "Yvar"])
def test_a_fit_refuses_data_that_do_not_belong_together(fit, wrong):
    with pytest.raises(ValueError, match=r"(X|Y|Yvar) is .*, expected n x 1"):
        fit(*wrong)


def test_the_model_of_failures_refuses_labels_of_other_trials():
    with pytest.raises(ValueError, match="Feasibility: labels is 7, expected n with n = 8"):
        Feasibility(X, torch.ones(N - 1, dtype=torch.float64))


ACQUISITIONS = {
    "LogImprovement": LogImprovement,
    "Thompson": Thompson,
    "BotorchAcquisition": lambda models, seed: BotorchAcquisition("LogExpectedImprovement", models, seed),
}


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_an_acquisition_function_refuses_a_transposed_matrix(name, models):
    acquisition = ACQUISITIONS[name](models, 0)
    shortlist, waiting = models.X[:5], models.X[:0]
    score = acquisition.scorer(shortlist, waiting)
    assert score(shortlist).shape == (5,)
    for wrong in (shortlist.T, shortlist[0]):
        with pytest.raises(ValueError, match="scorer: X is"):
            score(wrong)
    with pytest.raises(ValueError, match=rf"{name}\.scorer: shortlist is"):
        acquisition.scorer(shortlist.T, waiting)
    with pytest.raises(ValueError, match=rf"{name}\.scorer: X_pending is"):
        acquisition.scorer(shortlist, shortlist.T)


def test_the_hypervolume_refuses_a_transposed_matrix(averaged):
    goal = SimpleNamespace(surrogate=averaged)
    known = SimpleNamespace(
        goals=[goal, goal], config=GPConfig(), measured=X, observed=torch.ones(N, dtype=torch.bool),
        default_rows=torch.arange(N) == 0, kept=lambda points: torch.ones(len(points), dtype=torch.bool),
    )  # fmt: skip
    acquisition = LogHypervolumeImprovement(known, 0)
    score = acquisition.scorer(X, X[:0])
    assert score(X).shape == (N,)
    with pytest.raises(ValueError, match="scorer: X is 3 x 8"):
        score(X.T)
    with pytest.raises(ValueError, match=r"LogHypervolumeImprovement\.scorer: X_pending is 3 x 8"):
        acquisition.scorer(X, X.T)


def test_a_scorer_gives_one_value_for_each_row():
    with pytest.raises(ValueError, match="scorer: score is 8 x 1, expected n with n = 8"):
        checked(lambda X: X[:, :1], D)(X)


def test_criteria_of_candidates_are_rows(problem, models):
    scores = Scores(problem, models, 0)
    indices = SPACE.table().indices
    table = SPACE.as_table(np.tile(indices, (1 + 600 // len(indices), 1)))  # too many to compare all exactly
    selection = Selection(scores, CandidateTable(models.encoder, table))
    rough = scores.acquisition.rough
    scores.acquisition.rough = lambda *given: rough(*given).mT
    with pytest.raises(ValueError, match=r"rough: criteria is \d{3} x 1, expected c x n"):
        selection.best(models.X[:0])


def test_local_search_refuses_transposed_rows_and_scores_of_another_shape():
    def run(starts, score=lambda rows: rows.sum(1), **options):
        return climb(LEVELS, starts, score, (), np.random.default_rng(0), rows=20, calls=2, **options)

    assert run(ROWS, leaders=ROWS[:1]).rows.shape[1] == 3
    with pytest.raises(ValueError, match="climb: starts is 3 x 2"):
        run(ROWS.T)
    with pytest.raises(ValueError, match="climb: leaders is 3 x 2"):
        run(ROWS, leaders=ROWS.T)
    with pytest.raises(ValueError, match="climb: score is 2 x 1, expected n with n = 2"):
        run(ROWS, lambda rows: rows[:, :1])


def test_candidates_are_rows_of_the_space(monkeypatch):
    space = Space([Int(name, 1, 12) for name in "abcdefg"])
    found = candidates(space, set(), [], np.random.default_rng(0))
    assert found.indices.shape[1] == len(space)
    from autotune.engine.gp.optimize import candidates as module

    monkeypatch.setattr(module, "_spread", lambda *_: found.indices.T)
    with pytest.raises(ValueError, match="candidates: rows is 7 x"):
        candidates(space, set(), [], np.random.default_rng(0))
