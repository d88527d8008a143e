"""Names of the files that :mod:`autotune.systems.own.launch` leaves and the driver reads."""

STARTED = "own-started.json"
"""``{"pid"}``: the program has been launched."""

OUTCOME = "own-outcome.json"
"""``{"exit", "runs": [{"stdout", "metrics", "seconds"}]}``: it has ended."""

METRICS = "metrics-{run}.json"
"""Name of the metrics file of a run, where the program writes one."""

STDOUT = "stdout-{run}.txt"
"""Standard output of a run, apart from the log, which has standard error."""

RUN, FILE = "{run}", "{metrics_file}"
"""Words that :mod:`~autotune.systems.own.launch` fills in for each run."""

CANNOT_LOAD = "autotune: the function cannot be loaded"
"""Line of the log of a function that never ran: its file or its name is wrong, not its argument."""

OOM_KILLED = "autotune: the kernel ended a process for want of memory"
"""Line of the log after which a SIGKILL is known to be the kernel's."""
