"""The book of shares: leases, newcomers, what each is told, and a book that was lost."""

import pytest

from autotune.core.placement import Rules
from autotune.executor.placement import Need, Node, place
from autotune.executor.ray_shares import Sharing, slots_needed, slots_of
from autotune.executor.share_book import LEASE_S, LISTEN_S, Post, ShareBook

SIZES = {f"n{i}": 100 for i in range(4)}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def book(clock):
    book = ShareBook(clock)
    clock.now = LISTEN_S
    return book


def post(study, held=(), wants=4, offered=(), started=None):
    holds = dict.fromkeys(held, 100)
    started = len(held) if started is None else started
    return Post(
        study, f"{study}/chat", SIZES, SIZES, 1, wants, wants + len(held), holds, dict.fromkeys(offered, 100),
        started,
    )  # fmt: skip


def test_one_study_gets_all_nodes_and_a_newcomer_the_next_that_is_free(book):
    assert set(book.update(post("a")).offered) == set(SIZES)
    first = book.update(post("b"))
    assert first.offered == {}
    assert (first.fair, first.before, first.others) == (2.0, "a/chat", ("a/chat",))
    assert book.update(post("a", held=list(SIZES), wants=0)).offered == {}
    told = book.update(post("a", held=["n0", "n1", "n2"], wants=1, started=4))
    assert told.offered == {}
    assert str(told) == "holds 3 of its fair share of 2 nodes (2 studies share 4 nodes)"
    assert book.update(post("b")).offered == {"n3": 100}


def test_a_driver_that_falls_silent_loses_its_nodes_after_its_lease(book, clock):
    book.update(post("a"))
    book.update(post("a", held=list(SIZES), wants=0))
    assert book.update(post("b")).offered == {}
    clock.now += LEASE_S + 1
    assert set(book.update(post("b")).offered) == set(SIZES)


def test_one_that_leaves_gives_its_nodes_back_at_once(book):
    book.update(post("a"))
    book.leave("a")
    assert set(book.update(post("b")).offered) == set(SIZES)


def test_a_new_book_listens_before_it_offers_what_others_may_hold(clock):
    book = ShareBook(clock)
    assert book.update(post("a")).offered == {}
    book.update(post("b", held=["n0", "n1"], wants=0))
    clock.now = LISTEN_S
    assert set(book.update(post("a")).offered) == {"n2", "n3"}


GPUS = Node("g", "g", 16.0, 8.0)
CPUS = Node("c", "c", 4.0)


def test_slots_are_parts_of_accelerators_or_of_cpus():
    assert (slots_of(GPUS), slots_of(CPUS)) == (800, 400)
    alone = Need(1.0, exclusive=True)
    assert (slots_needed(alone, GPUS), slots_needed(alone, CPUS)) == (800, 400)
    assert slots_needed(Need(4.0, 2.0), GPUS) == 200
    assert slots_needed(Need(0.5), CPUS) == 50
    assert slots_needed(Need(4.0), GPUS) == 200  # a quarter of its CPUs
    assert slots_needed(Need(1.0, 1.0), CPUS) == 0


def test_a_study_places_attempts_on_what_it_was_offered_only():
    book = ShareBook(Clock())
    sharing = Sharing("a", "a/chat")
    need = Need(1.0, 2.0)
    assert sharing.limit([GPUS], need) == [GPUS]  # nobody has answered: nothing is shared
    sharing.plan(need, 3, [GPUS], [GPUS])
    sharing.hear(sharing.post(), book.update(sharing.post()))
    assert place(need, sharing.limit([GPUS], need), (), Rules()) is None
    sharing.ask(need, [GPUS], [GPUS])
    said = sharing.post()
    assert (said.wants, said.most, said.nodes) == (3, 3, {"g": 200})
    book._clock.now = LISTEN_S
    book.update(Post("b", "b", {"g": 800}, {"g": 200}, 1, 0, 9, {"g": 400}))
    sharing.hear(said, book.update(said))
    running = []
    for _ in range(2):
        placed = place(need, sharing.limit([GPUS], need), running, Rules())
        running.append(placed)
        sharing.note_running(running, placed)
    assert place(need, sharing.limit([GPUS], need), running, Rules()) is None
    assert sharing.post().holds == {"g": 400}
    assert sharing.post().started == 0.5


def test_an_attempt_that_needs_its_node_alone_does_not_start_beside_anothers():
    sharing = Sharing("a", "a")
    alone = Need(1.0, exclusive=True)
    sharing.plan(alone, 1, [CPUS], [CPUS])
    book = ShareBook(Clock())
    book._clock.now = LISTEN_S
    book.update(Post("b", "b", {"c": 400}, {"c": 100}, 1, 0, 1, {"c": 100}))
    sharing.ask(alone, [CPUS], [CPUS])
    sharing.hear(sharing.post(), book.update(sharing.post()))
    assert place(alone, sharing.limit([CPUS], alone), (), Rules()) is None
    assert sharing.share.before == "b"
