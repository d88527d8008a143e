"""Study files that several test modules begin with."""

# The widest precision there is: a busy machine makes no measurement of it doubtful, to be repeated.
TOY_STUDY = """
name: toy
parameters:
  batch_size: {type: int, low: 1, high: 16, powers_of: 2, scale: log2, default: 1}
  speed:      {type: ordinal, values: [1, 2, 3], default: 1}
system: {use: toy}
workload: {prompt_tokens: 4, output_tokens: 4, precision: 99 %, time: 1 s, warmup: 1}
objective: {maximize: output_throughput, limits: [tpot.p95 <= 1 s]}
budget: {trials: 4, confirm: 1}
engine: {use: random, seed: 0}
tracking: {mlflow: none}
deadlines: {startup: 20 s, measure: 20 s, stop: 1 s}
"""

GOOD = """name: demo
parameters:
  batch_size: {type: int, low: 1, high: 8, default: 2}
  draft_length: {type: int, low: 0, high: 4}
constraints:
  - draft_length == 0 or batch_size == 1
system: {use: transformers, model: tiny}
workload: {prompt_tokens: 16, output_tokens: 8}
objective:
  maximize: output_throughput
  limits: [ttft.p99 <= 500 ms]
budget: {trials: 5, time: 2 h, parallel: 2, confirm: 1}
resources: {cpus: batch_size * 2}
engine: {use: gp, seed: 7}
tracking: {mlflow: none}
deadlines: {startup: 1 min, measure: 30 s, stop: 500 ms}
"""
SERVED = (
    "name: served\nparameters: {max_num_seqs: {type: int, low: 1, high: 8}}\nsystem: {use: vllm, model: m}\n"
)

ERRORS = {
    "unknown_key": ("budget:", "budgit:"),
    "unknown_parameter_key": ("high: 8,", "hihg: 8,"),
    "unknown_type": ("type: int, low: 1", "type: integer, low: 1"),
    "low_above_high": ("low: 1, high: 8", "low: 9, high: 8"),
    "default_outside": ("default: 2}", "default: 99}"),
    "constraint_name": ("batch_size == 1", "batchsize == 1"),
    "constraint_syntax": ("== 0 or", "== 0 orr"),
    "constraint_power": ("batch_size == 1", "batch_size ** 2 == 1"),
    "unknown_system": ("use: transformers", "use: transfomers"),
    "unknown_system_key": ("model: tiny", "modle: tiny"),
    "workload_value": ("output_tokens: 8", "output_tokens: many"),
    "workload_open_loop": ("{prompt_tokens: 16,", "{rate: 4, prompt_tokens: 16,"),
    "unknown_metric": ("ttft.p99 <=", "ttft.p98 <="),
    "near_miss_of_a_metric": ("output_throughput", "ouput_throughput"),
    "metric_of_our_name_space": ("maximize: output_throughput", "maximize: quality.bleu"),
    "metric_without_statistic": ("ttft.p99 <=", "ttft <="),
    "limit_unit": ("500 ms]", "500 MB]"),
    "limit_without_unit": ("500 ms]", "500]"),
    "budget_trials": ("trials: 5", "trials: 0"),
    "budget_time": ("time: 2 h", "time: 2"),
    "parallel": ("parallel: 2", "parallel: many"),
    "resources": ("batch_size * 2", "batch_size > 2"),
    "unknown_engine": ("use: gp", "use: gpp"),
    "engine_option": ("seed: 7", "sed: 7"),
    "deadline": ("stop: 500 ms", "stop: 0 s"),
    "unknown_mirror": ("mlflow: none", "mlflow: none, mirrors: {mlfow: {}}"),
    "mirror_options": ("mlflow: none", "mlflow: none, mirrors: {team: 3}"),
    "name": ("name: demo", "name: ../demo"),
    "duplicate_key": ("budget:", "name: again\nbudget:"),
    "no_parameters": (
        "parameters:\n  batch_size: {type: int, low: 1, high: 8, default: 2}\n"
        "  draft_length: {type: int, low: 0, high: 4}\n",
        "",
    ),
    "parameters_under_space": (
        "parameters:\n  batch_size: {type: int, low: 1, high: 8, default: 2}\n"
        "  draft_length: {type: int, low: 0, high: 4}\n",
        "space:\n  batch_size: {type: int, low: 1, high: 8, default: 2}\n",
    ),
    "impossible": ("  - draft_length == 0 or batch_size == 1", "  - batch_size > 100"),
}
"""Mistakes in ``GOOD``: what is replaced, and by what. Each has its golden message."""
