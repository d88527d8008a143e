"""The study: asking and telling, and whatever runs one to its end: `autotune run`, `tune`, a sweep.

Owns what is decided from trial to trial: what to start, repeat, confirm, give up, and when to stop. May
import ``executor``, ``tracking``, ``report``, ``export``, ``analysis``, ``engine``, ``systems``,
``measure``, ``ledger``, ``spec`` and ``core``.
"""
