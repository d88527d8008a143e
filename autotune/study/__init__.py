"""The study: asking and telling, and whatever runs one to its end: `autotune run`, `tune`, a sweep.

It owns what is decided from trial to trial: what to start, repeat, confirm, give up, and when to stop. It may
import all that lies below: executor, tracking, report, engine, systems, measure, ledger, spec, core.
"""
