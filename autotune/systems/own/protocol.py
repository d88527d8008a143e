"""Words that :mod:`autotune.systems.own.launch` and its readers agree on."""

RUN, FILE = "{run}", "{metrics_file}"
"""Words that :mod:`~autotune.systems.own.launch` fills in for each run."""

CANNOT_LOAD = "autotune: the function cannot be loaded"
"""Line of the log of a function that never ran: its file or its name is wrong, not its argument."""

OOM_KILLED = "autotune: the kernel ended a process for want of memory"
"""Line of the log after which a SIGKILL is known to be the kernel's."""
