"""How a launched system is loaded and timed, and when the numbers may be believed.

Owns the load, the watch beside it, the metrics and their errors, in rooms by what is measured: ``endpoint``
(a server under load) and ``batches`` (in process) stand on ``quality``, ``load`` and ``watch``, those on
``metrics``, and these on ``statistics`` and ``workload``: imports point that way only. May import ``core``.
"""
