"""Names of the files in a store and in an attempt's folder: who writes one and who reads it agree here.

A process that imports nothing but the standard library may import this.
"""

LEDGER_NAME = "ledger.sqlite"
"""The ledger of a store."""
USUAL_STORE = "autotune-runs"
"""Folder of the ledger and of what the trials leave, unless ``--store`` or ``AUTOTUNE_STORE`` names one."""

# An attempt's folder, which is the working folder of what is launched.
CONFIG_NAME = "config.json"
"""``{"config", "trial", "attempt"}``."""
PROCESS_NAME = "process.json"
"""``{"pid", "supervisor"}``: written by the worker once the process runs."""
COMMAND_NAME = "command.txt"
"""The command line as it was launched."""
LAUNCH_NAME = "launch.json"
"""How a server is found ready and asked."""
LOG_NAME = "server.log"
"""What the launched process prints."""
FIRST_LOG = "first-launch.log"
"""The log of a launch that died unexplained, kept beside that of the second."""
WORKER_LOG = "worker.log"
"""What the worker itself prints, where it is a process of its own."""
REQUESTS_NAME = "requests.jsonl"
"""Records of the measured requests, one a line."""
JOB_NAME, RESULT_NAME = "job.json", "result.json"
"""A job for a worker that is a process of its own, and its answer."""
ANSWERS_NAME, SCORE_NAME, SCORER_LOG = "answers.jsonl", "score.json", "scorer.log"
"""What a scorer of the user's reads and writes, and what it prints."""
SOCKET_NAME = "server.sock"
"""Unix socket of the transformers system."""

# A program that measures itself: what its launcher leaves and the driver reads.
STARTED = "own-started.json"
"""``{"pid"}``: the program has been launched."""
OUTCOME = "own-outcome.json"
"""``{"exit", "runs": [{"stdout", "metrics", "seconds"}]}``: it has ended."""
METRICS = "metrics-{run}.json"
"""Metrics of a run, where the program writes a file of them."""
STDOUT = "stdout-{run}.txt"
"""Standard output of a run, apart from the log, which has standard error."""
