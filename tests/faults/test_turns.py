"""A turn of the loop: what is committed together, and what keeps other writers out while it thinks."""

from simulated import Clock, Messages, simulate, study_file

from autotune.study.driver import TOGETHER_S


class Slow:
    """An engine whose asks take their time, and note whether the ledger was held meanwhile."""

    def __init__(self, engine, clock, seconds):
        self.engine, self.clock, self.seconds = engine, clock, seconds
        self.name = engine.name
        self.held = []

    def ask(self, *arguments):
        self.held.append(self.ledger._db.in_transaction)
        self.clock.now += self.seconds
        return self.engine.ask(*arguments)


def turns(tmp_path, monkeypatch, seconds):
    """Run a study whose asks take so long; return what each found, and the commits in all."""
    spec = study_file(tmp_path, trials=12)
    clock = Clock()
    loop = simulate(spec, None, monkeypatch, executor=Messages(clock, lambda _job: [1.0]))
    engine = loop.study.engine = Slow(loop.study.engine, clock, seconds)
    engine.ledger = loop.study.ledger
    before = int(loop.study.ledger._counter()["revision"])
    assert loop.run() == "completed"
    commits = int(loop.study.ledger._counter()["revision"]) - before
    loop.study.close()
    return engine.held, commits


def test_a_slow_ask_keeps_no_other_writer_out(tmp_path, monkeypatch):
    held, _ = turns(tmp_path, monkeypatch, 2 * TOGETHER_S)
    assert len(held) == 12
    assert not any(held)


def test_quick_asks_share_a_commit(tmp_path, monkeypatch):
    slow, quick = (turns(tmp_path, monkeypatch, seconds)[1] for seconds in (2 * TOGETHER_S, 0.0))
    assert quick < 0.7 * slow
