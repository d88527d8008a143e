"""A study in several threads and in an event loop: no trial twice, nothing lost, resumed after a cancel."""

import asyncio
import itertools
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

import autotune
from autotune.core.trial import Reason, TrialState
from autotune.errors import StudyError
from autotune.ledger import Ledger

SPACE = autotune.Space([autotune.Int("batch", 1, 40), autotune.Int("depth", 1, 10)])
GOAL = {"maximize": "t"}
DONE = TrialState.COMPLETED


def measured(config):
    return {"t": float(config["batch"] * config["depth"])}


async def measure(config):
    await asyncio.sleep(0)
    return measured(config)


def make(**more):
    return autotune.Study(SPACE, GOAL, **{"engine": "sobol", **more})


@pytest.fixture(params=["memory", "file"])
def place(request, tmp_path):
    return {} if request.param == "memory" else {"path": tmp_path / "ledger.sqlite"}


def test_threads_ask_tell_and_read_and_none_gets_the_trial_of_another(place):
    study, workers, each = make(**place), 6, 8
    together = threading.Barrier(workers + 1, timeout=240)
    over = threading.Event()

    def work(_):
        together.wait()
        got = []
        for _ in range(each // 2):
            batch = study.ask(2)
            got += [trial.number for trial in batch]
            study.tell(batch[0], measured(batch[0].config))
            study.tell(batch[1].number, failure="out_of_memory")
        return got

    def read():
        together.wait()
        seen = 0
        while not over.is_set():
            trials, best = study.trials, study.best
            assert len(trials) >= seen
            assert best is None or best.state is DONE
            assert len(study.unfinished) <= 2 * workers
            assert study.view.name == "study"
            seen = len(trials)
        return seen

    with ThreadPoolExecutor(workers + 1) as pool:
        reader = pool.submit(read)
        try:
            numbers = list(itertools.chain(*pool.map(work, range(workers))))
        finally:
            over.set()
        reader.result()
    assert sorted(numbers) == list(range(workers * each))
    assert len({trial.key for trial in study.trials}) == workers * each
    assert sum(trial.state is DONE for trial in study.trials) == workers * each / 2
    if study.path is not None:
        with Ledger.open(study.path, read_only=True) as ledger:
            assert [t.state for t in ledger.trials("study")] == [t.state for t in study.trials]


def test_one_thread_cannot_end_up_in_the_commit_of_another(place):
    study, inside, looked = make(**place), threading.Event(), threading.Event()

    def other():
        inside.wait(60)
        looked.set()
        return study.ask()

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(other)
        with suppress(RuntimeError), study.ledger.together():
            first = study.ask()
            inside.set()
            assert looked.wait(60)
            assert not found.done()
            raise RuntimeError("nothing of this commit is kept")
        study.put_back()  # as the ledger has it
        assert found.exception(60) is not None or found.result().number in (first.number, first.number + 1)
    assert [trial.number for trial in study.ledger.trials("study")] == [t.number for t in study.trials]


def test_two_models_in_two_threads_answer_as_they_do_alone():
    def run(seed):
        study = make(engine={"use": "gp", "initial": 3}, seed=seed)
        for _ in range(5):
            trial = study.ask()
            study.tell(trial, measured(trial.config))
        return [trial.key for trial in study.trials]

    alone = [run(seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, (1, 2))) == alone


# -- an event loop ---------------------------------------------------------------------------------


def test_async_and_other_functions_run_side_by_side_in_a_loop_that_goes_on(place):
    async def run():
        study, running, most, told = make(**place), set(), 0, []
        enough = asyncio.Event()

        async def function(config):
            nonlocal most
            key = tuple(config.values())
            assert key not in running
            running.add(key)
            most = max(most, len(running))
            if most == 3:
                enough.set()
            await asyncio.wait_for(enough.wait(), 60)  # three at once, or never
            running.discard(key)
            return measured(config)

        async def callback(found, trial):
            assert found is study
            assert asyncio.get_running_loop() is loop
            await asyncio.sleep(0)
            with pytest.raises(StudyError, match="a callback cannot ask"):
                found.suggest(trial.suggestion)
            told.append(trial.number)

        loop = asyncio.get_running_loop()
        assert await study.tune_async(function, trials=9, parallel=3, callbacks=[callback]) is study
        assert most == 3
        assert sorted(told) == list(range(9))
        here = threading.get_ident()
        await study.tune_async(lambda config: {"t": float(threading.get_ident() != here)}, trials=11)
        assert [trial.metrics["t"].value for trial in study.trials[9:]] == [1.0, 1.0]
        return study

    study = asyncio.run(run())
    assert {trial.state for trial in study.trials} == {DONE}
    assert len({trial.key for trial in study.trials}) == 11
    assert study.ledger.study("study").state == "COMPLETED"


def test_many_tasks_stress_one_study(place):
    async def run():
        study = make(**place)

        async def ask_and_tell():
            trial = await asyncio.to_thread(study.ask)
            await asyncio.to_thread(study.tell, trial, measured(trial.config))
            return trial.number

        assert sorted(await asyncio.gather(*[ask_and_tell() for _ in range(30)])) == list(range(30))
        await study.tune_async(measure, trials=60, parallel=8)
        return study

    assert len({trial.key for trial in asyncio.run(run()).trials}) == 60


@pytest.mark.parametrize("kind", ["async", "thread"])
def test_a_cancelled_task_leaves_the_ledger_right_and_the_same_call_goes_on(place, kind):
    held = threading.Event()

    async def run():
        study, begun, ended = make(**place), [], []

        async def function(config):
            begun.append(config)
            if len(begun) > 2:
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append(config)
            return measured(config)

        def blocking(config):
            begun.append(config)
            if len(begun) > 2:
                held.wait(60)
            return measured(config)

        chosen = function if kind == "async" else blocking
        task = asyncio.create_task(study.tune_async(chosen, trials=8, parallel=2))
        while len(begun) < 4:
            await asyncio.sleep(0.01)
        with pytest.raises(StudyError, match="is being tuned, which asks for its trials itself"):
            study.ask()
        with pytest.raises(StudyError, match=r"is (being tuned already|already running)"):
            await study.tune_async(function)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(ended) == (2 if kind == "async" else 0)
        assert asyncio.all_tasks() == {asyncio.current_task()}  # none is left behind
        assert [t.state for t in study.trials] == [DONE, DONE, TrialState.WAITING, TrialState.WAITING]
        assert study.ledger.study("study").state == "INTERRUPTED"
        assert [a.state for a in study.ledger.attempts("study", 2)] == ["LOST"]
        waited = [trial.config for trial in study.unfinished]
        held.set()
        await study.tune_async(measure, trials=8, parallel=2)
        assert [trial.config for trial in study.trials[2:4]] == waited
        return study

    try:
        study = asyncio.run(run())
    finally:
        held.set()
    assert [trial.state for trial in study.trials] == [DONE] * 8
    assert len({trial.key for trial in study.trials}) == 8


def test_what_a_function_raises_counts_as_in_tune():
    async def function(config):
        await asyncio.sleep(0)
        if config["batch"] > 20:
            raise MemoryError("too large")
        if config["depth"] > 5:
            raise autotune.Infeasible("too deep")
        return measured(config)

    study = asyncio.run(make().tune_async(function, trials=16, parallel=4))
    for trial in study.trials:
        wanted = "out_of_memory" if trial.config["batch"] > 20 else "rejected_flags"
        fails = trial.config["batch"] > 20 or trial.config["depth"] > 5
        assert (trial.failure.cause.value if trial.failure else None) == (wanted if fails else None)

    async def misspelt(config):
        return {"t": config["bacth"]}

    with pytest.raises(KeyError, match="bacth") as caught:
        asyncio.run(make().tune_async(misspelt, trials=3))
    assert caught.value.study.trials[0].state is TrialState.WAITING or caught.value.study.trials[0].failure

    async def cancels_itself(config):
        raise asyncio.CancelledError

    study = asyncio.run(make().tune_async(cancels_itself, trials=2))
    assert {trial.failure.cause.value for trial in study.trials} == {"crashed_under_load"}


def test_a_time_budget_ends_a_call_that_waits():
    async def run():
        study = make()
        await study.tune_async(lambda config: asyncio.Event().wait(), trials=3, timeout=0.2)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return study

    study = asyncio.run(run())
    assert study.stopped.startswith("its time of")
    assert {trial.state for trial in study.trials} == {TrialState.WAITING}  # the default, for more time


def test_a_callback_stops_a_search_in_a_loop_and_it_goes_on():
    async def run():
        study = make()

        def enough(found, trial):
            if trial.number == 2:
                raise autotune.StopStudy("good enough")

        await study.tune_async(measure, trials=9, callbacks=[enough])
        assert (len(study.trials), study.stopped) == (3, "good enough")
        await study.tune_async(measure, trials=5)
        return len(study.trials)

    assert asyncio.run(run()) == 5


def test_a_cell_of_a_notebook_awaits_it():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.user_ns |= {"study": make(), "measure": measure}
    ran = shell.run_cell("await study.tune_async(measure, trials=3, progress=False)\nlen(study.trials)")
    assert (ran.error_in_exec, ran.result) == (None, 3)


def test_ctrl_c_ends_a_program_and_its_next_run_goes_on(tmp_path):
    program, path = tmp_path / "program.py", tmp_path / "ledger.sqlite"
    program.write_text(
        "import asyncio, autotune\n"
        "async def function(config):\n"
        "    if config['batch'] != space.default_config['batch']:\n"
        "        print('waits', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "    return {'t': 1.0}\n"
        "async def main():\n"
        f"    study = autotune.Study(space, {GOAL}, engine='sobol', path={str(path)!r})\n"
        "    await study.tune_async(function, trials=4)\n"
        "space = autotune.Space([autotune.Int('batch', 1, 40)])\n"
        "asyncio.run(main())\n"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, str(program)], **pipes) as run:
        assert run.stdout.readline() == b"waits\n"
        run.send_signal(signal.SIGINT)
        try:
            _, said = run.communicate(timeout=240)
        finally:
            run.kill()
    assert said.rstrip().endswith(b"KeyboardInterrupt")
    with autotune.Study.open(path) as study:
        assert [trial.state for trial in study.trials] == [DONE, TrialState.WAITING]
        asyncio.run(study.tune_async(lambda config: {"t": float(config["batch"])}, trials=4))
        assert [trial.state for trial in study.trials] == [DONE] * 4


# -- a queue ---------------------------------------------------------------------------------------


def test_what_is_enqueued_is_asked_next_and_once(place):
    study = make(**place)
    study.tell(study.ask(), {"t": 1.0})
    tried = study.trials[0].config
    mine = [{"batch": 7, "depth": 3}, {"batch": 9, "depth": 1}]
    assert study.enqueue(*mine, {"batch": 7, "depth": 3}, tried) == mine
    assert study.enqueue(mine[0]) == []
    assert study.queued == mine
    first = study.ask()
    assert (first.config, first.suggestion.reason) == (mine[0], Reason.START)
    batch = study.ask(3)
    assert [trial.config for trial in batch[:1]] == mine[1:]
    assert len(batch) == 3
    assert study.queued == []
    with pytest.raises(autotune.SpecError, match=r"configs\[1\]: unknown parameter 'bacth'; allowed: batch"):
        study.enqueue({"batch": 2}, {"bacth": 3})
    assert study.queued == []
    assert study.enqueue({"batch": 2})[0]["depth"] == SPACE.default_config["depth"]


def test_the_ledger_keeps_the_queue_and_whoever_tunes_takes_from_it(tmp_path):
    path = tmp_path / "ledger.sqlite"
    mine = [{"batch": 7, "depth": 3}, {"batch": 9, "depth": 1}, {"batch": 11, "depth": 2}]
    with make(path=path) as study:
        study.enqueue(*mine)
        assert study.ask().config == mine[0]
    with autotune.Study.open(path) as study:
        assert study.queued == mine[1:]
    with autotune.tune(SPACE, measured, GOAL, engine="sobol", trials=4, path=path) as study:
        assert [trial.config for trial in study.trials[:3]] == mine
        assert study.queued == []
        assert {trial.state for trial in study.trials} == {DONE}


def test_a_callback_enqueues_what_is_measured_next():
    def look(study, trial):
        if trial.number == 1:
            study.enqueue({"batch": 39, "depth": 9})

    study = autotune.tune(SPACE, measured, GOAL, engine="sobol", trials=4, callbacks=[look])
    assert study.trials[2].config == {"batch": 39, "depth": 9}


# -- engines, spaces and objectives as values --------------------------------------------------------


class Descending:
    """The configurations from the last to the first."""

    name = "descending/1"

    def ask(self, space, objective, history, pending, n, seed):
        from autotune.core.trial import Suggestion

        table = space.table()
        seen = len(history) + len(pending)
        last = range(len(table) - 1 - seen, len(table) - 1 - seen - n, -1)
        return [Suggestion(config, Reason.EXPLORE, self.name) for config in table.configs(last)]


def test_an_engine_is_given_as_an_object_and_again_where_its_ledger_is_opened(tmp_path, capsys):
    from autotune.cli import main

    path = tmp_path / "ledger.sqlite"
    with autotune.tune(SPACE, measured, GOAL, engine=Descending(), trials=3, path=path) as study:
        assert [trial.config["batch"] for trial in study.trials] == [40, 40, 40]
        assert study.trials[0].suggestion.engine == "descending/1"
    with pytest.raises(autotune.SpecError, match=r"'descending/1' was given in Python, as a .*Descending"):
        autotune.Study.open(path)
    with autotune.Study.open(path, engine=Descending()) as study:
        assert study.ask().config == {"batch": 40, "depth": 7}
    for command in ("status", "best"):
        assert main([command, "--store", str(tmp_path)]) == 0
    assert "descending" not in capsys.readouterr().err


class Broken(Descending):
    """An engine with a mistake."""

    def ask(self, *_):
        return [1]


def test_what_an_engine_of_the_callers_proposes_is_checked():
    with pytest.raises(
        autotune.AutotuneError, match=r"'descending/1' proposed .1., which is no list of sugg"
    ):
        make(engine=Broken()).ask()
    with pytest.raises(
        autotune.SpecError, match="engine must be a name, a mapping or an engine, found <class"
    ):
        make(engine=Descending)
    with pytest.raises(autotune.SpecError, match=r"^unknown engine 'gpp'; allowed: gp"):
        make(engine="gpp")


def test_spaces_and_objectives_in_every_form(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("parameters: {batch: {type: int, low: 1, high: 8}}\n")
    plain = {"batch": {"type": "int", "low": 1, "high": 8}}
    forms = [file, str(file), plain, {"parameters": plain}, [autotune.Int("batch", 1, 8)]]
    spaces = {autotune.Study(form, GOAL).space.fingerprint for form in forms}
    assert spaces == {autotune.Space.from_dict(plain).fingerprint}
    assert autotune.Study("vllm", GOAL).space == autotune.load_space("vllm")
    with pytest.raises(autotune.SpecError, match="did you mean 'vllm'"):
        autotune.Study("vlm", GOAL)
    written = {
        "maximize": ["t", "u"],
        "minimize": "v",
        "limits": ["ttft.p99 <= 500 ms"],
        "confidence": "99 %",
    }
    made = autotune.Objective(**written)
    assert made == autotune.Objective.from_dict(written)
    assert autotune.Objective(made.goals, made.limits, confidence=0.99) == made
    with pytest.raises(autotune.SpecError, match="did you mean 'maximize'"):
        autotune.Objective(maximise="t")


def test_a_belief_around_a_value_has_a_width_by_itself():
    stated = autotune.Prior(around=0.5, spread=0.125)
    for prior in (autotune.Prior(around=0.5), stated, {"around": 0.5}, {"around": 0.5, "spread": 0.125}):
        assert autotune.Float("share", 0, 1, prior=prior).prior == stated
    kinds = autotune.Categorical("kind", ["a", "b"], prior=autotune.Prior(weights={"b": 3}))
    assert kinds.belief() == (0.25, 0.75)
    again = autotune.Space.from_dict(autotune.Space([kinds]).to_dict())
    assert again["kind"].prior == kinds.prior
    with pytest.raises(autotune.SpecError, match="found both"):
        autotune.Prior(around=1, weights={1: 2})
