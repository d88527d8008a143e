"""A search space as users of Ray Tune write it; it is read, never run."""

from ray import tune

SEQS = [2**n for n in range(4, 9)]

space = {
    "max_num_seqs": tune.choice(SEQS),
    "max_num_batched_tokens": tune.qlograndint(1024, 8192, 512),
    "gpu_memory_utilization": tune.quniform(0.7, 0.95, 0.05),
    "temperature": tune.loguniform(1e-2, 1.0),
    "block_size": tune.grid_search([16, 32]),
    "draft": {"length": tune.randint(0, 8), "model": tune.choice(["ngram", None])},
    "noise": tune.randn(100, 10),
    "ratio": tune.sample_from(lambda spec: spec.config.max_num_seqs / 2),
    "dtype": "auto",
}

tuner = tune.Tuner(
    None,
    param_space=space,
    tune_config=tune.TuneConfig(metric="Latency (ms)", mode="min", num_samples=20),
    run_config=tune.RunConfig(name="my first run"),
)
