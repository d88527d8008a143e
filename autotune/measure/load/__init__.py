"""Requests over HTTP on a schedule fixed beforehand: the generator runs in a process of its own.

Owns what is sent and what comes back, until it is a record. May import ``workload`` and ``statistics``.
"""
