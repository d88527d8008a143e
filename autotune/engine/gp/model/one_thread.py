"""One thread for the linear algebra of an ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch and the linear algebra of numpy and scipy on one thread.

    Matrices this small are slower on several, and trials need the others: a second thread of OpenBLAS waits
    in a loop for a core that is taken, and an ask of 0.12 s took 30 s. Rounding no longer depends on how many
    cores there are, either.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _thread_pools().limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _thread_pools() -> ThreadpoolController:
    """Return the thread pools of this process; looking for them takes longer than setting them."""
    return ThreadpoolController()
