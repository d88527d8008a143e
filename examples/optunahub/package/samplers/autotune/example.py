"""Tune two parameters of a server that does not start with everything."""

import optuna
import optunahub


def objective(trial: optuna.Trial) -> float:
    """Return the throughput of a simulated server."""
    batch = trial.suggest_int("batch", 1, 64, log=True)
    bits = trial.suggest_categorical("bits", [4, 8, 16])
    if batch * bits > 512:
        trial.set_user_attr("failure", "out_of_memory")
        raise MemoryError
    return batch / (1 + batch / 16) / bits**0.3


if __name__ == "__main__":
    sampler = optunahub.load_module("samplers/autotune").AutotuneSampler(seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=20, catch=(MemoryError,))
    print(study.best_params, study.best_value)
