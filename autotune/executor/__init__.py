"""Where a trial runs: processes of this machine, or a Ray cluster.

Owns processes, deadlines, retries, rooms on nodes and the files of an attempt. May import ``systems``,
``measure`` and ``core``.
"""
