"""The scope of an ask: one thread for its linear algebra, and nothing kept of its models."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from threadpoolctl import ThreadpoolController

from autotune.engine.gp.model.posterior import forget_models

_ONE_ASK = threading.RLock()
"""Held through an ask: numbers of threads, and models that are forgotten, are those of the whole process."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch and the linear algebra of numpy and scipy on one thread, and forget its models at the end.

    Matrices this small are slower on several, and trials need the others: a second thread of OpenBLAS waits
    in a loop for a core that is taken, and an ask of 0.12 s took 30 s. Rounding no longer depends on how many
    cores there are, either. Models refer to themselves and are found by the rare full collections of the
    interpreter only, so that what is kept of them is dropped here.
    """
    with _ONE_ASK:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with _thread_pools().limit(limits=1, user_api="blas"):
                yield
        finally:
            torch.set_num_threads(before)
            forget_models()
            _return_memory()


def _return_memory() -> None:
    """Return freed matrices to the operating system, which glibc's allocator keeps between asks otherwise."""
    trim = getattr(_c_library(), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _c_library() -> ctypes.CDLL:
    """Return the C library of this process."""
    return ctypes.CDLL(None)


@lru_cache(maxsize=1)
def _thread_pools() -> ThreadpoolController:
    """Return the thread pools of this process; looking for them takes longer than setting them."""
    return ThreadpoolController()
