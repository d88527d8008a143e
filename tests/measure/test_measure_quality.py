"""Quality: the section, the metrics by hand, the plain HTTP client against a server of known answers."""

import json
import math
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from autotune.core.answer import Answer
from autotune.core.endpoint import Endpoint
from autotune.core.measurement import Estimate
from autotune.errors import SpecError
from autotune.measure.quality.answers import EndpointSource, NoAnswer
from autotune.measure.quality.check import check_quality
from autotune.measure.quality.metrics import exact_match, perplexity, token_agreement
from autotune.measure.quality.section import Quality
from tests_shared import serving_in_a_thread


def answers(*rows):
    return [Answer(" ".join(map(str, row)), tuple(row)) for row in rows]


def test_agreement_counts_positions_of_the_longer_answer():
    found = token_agreement(answers([1, 2, 3, 4], [1, 2]), answers([1, 2, 9, 4], [1, 2, 3, 4]))
    assert found.value == pytest.approx(5 / 8)
    assert found.n == 2
    same = answers([1, 2, 3], [4])
    assert token_agreement(same, same).value == 1.0
    assert token_agreement([Answer("", None)], [Answer("", None)]).value == 1.0
    with pytest.raises(ValueError, match="cannot be compared"):
        token_agreement(same, same[:1])


def test_words_are_compared_where_one_side_tells_no_tokens():
    mine, other = [Answer("the quick fox", (1, 2, 3))], [Answer("the slow fox")]
    assert token_agreement(mine, other).value == pytest.approx(2 / 3)
    assert token_agreement([Answer("a  b")], [Answer("a b")]).value == 0.5  # blanks are part of the words


def test_exact_match_forgives_case_blanks_and_what_follows():
    found = exact_match(
        [Answer("\n Paris.\nQuestion: next"), Answer(" 12 "), Answer("13"), Answer("")],
        ["paris", "12", "12", "x"],
    )
    assert (found.value, found.n) == (0.5, 4)
    assert found.sem == pytest.approx(0.25)


def test_perplexity_is_of_the_mean_loss():
    found = perplexity([1.0, 3.0])
    assert found.value == pytest.approx(math.exp(2))
    assert found.sem == pytest.approx(math.exp(2))
    assert perplexity([]) is None
    assert perplexity([5000.0]).value < math.inf


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"prompt": "4"}, "unknown key 'prompt'"),
        ({"prompts": "0"}, "prompts must be a whole number from 1"),
        ({"prompts": ["a"]}, "prompts must be a number or a file"),
        ({"max_tokens": "many"}, "max_tokens must be a whole number"),
        ({"agreement": "maybe"}, "agreement must be true or false"),
        ({"scorer": "nothing"}, "scorer must be module:function"),
        ({"tasks": ["a"]}, "tasks must be a file"),
    ],
)
def test_mistakes_of_the_section(section, said):
    with pytest.raises(SpecError, match=said):
        Quality.from_dict(section)


def test_files_are_read_once_and_travel_as_data(tmp_path):
    (tmp_path / "p.txt").write_text("first\n\nsecond\n")
    (tmp_path / "t.jsonl").write_text('{"prompt": "1+1=", "answer": 2}\n')
    (tmp_path / "text").write_text("to be scored")
    section = Quality.located(
        {"prompts": "p.txt", "tasks": "t.jsonl", "text": "text", "max_tokens": "4"}, tmp_path
    )
    loaded = Quality.from_dict(section).loaded()
    assert loaded["prompts"] == ["first", "second"]
    assert loaded["tasks"] == [{"prompt": "1+1=", "answer": "2"}]
    assert loaded["text"] == "to be scored"
    assert json.loads(json.dumps(loaded)) == loaded
    (tmp_path / "t.jsonl").write_text('{"prompt": "1+1="}\n')
    with pytest.raises(SpecError, match="line 1 must be an object with prompt and answer"):
        Quality.from_dict(section).loaded()
    with pytest.raises(SpecError, match="text: cannot read"):
        Quality.from_dict({**section, "text": "absent", "tasks": ""}).loaded()


def test_the_bundled_prompts_and_tasks_are_there():
    loaded = Quality.from_dict({"prompts": "8", "tasks": "bundled"}).loaded()
    assert len(set(loaded["prompts"])) == 8
    assert len(loaded["tasks"]) >= 16
    assert Quality.from_dict({"agreement": "false"}).loaded()["prompts"] == []


class Server(BaseHTTPRequestHandler):
    """Answer with the prompt's words reversed and losses of 2 nats; what it supports is of the test."""

    features = frozenset({"logprobs", "echo"})
    seen: ClassVar[list] = []

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, body))
        status, answer = 200, self.answer(body)
        if body["prompt" if "prompt" in body else "messages"] == "die":
            self.connection.close()
            return
        if answer is None:
            status, answer = 400, {"error": "not supported"}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer(self, body):
        if "messages" in body:
            content = [{"token": "a"}, {"token": "b"}]
            return {"choices": [{"message": {"content": "ab"}, "logprobs": {"content": content}}]}
        if "logprobs" in body and "logprobs" not in self.features:
            return None
        words = body["prompt"].split()
        if "prompt_logprobs" in body:
            entry = {"7": {"logprob": -3.0}, "8": {"logprob": -0.1}}
            told = [None, *[entry] * (len(words) - 1)] if "prompt_logprobs" in self.features else None
            return {"choices": [{"text": "x", "prompt_logprobs": told}]}
        if body.get("echo"):
            losses = [None, *[-2.0] * (len(words) - 1), -9.0] if "echo" in self.features else [-9.0]
            return {"choices": [{"text": "x", "logprobs": {"token_logprobs": losses, "tokens": words}}]}
        tokens = words[::-1][: body["max_tokens"]]
        told = {"tokens": tokens} if "logprobs" in body else None
        return {"choices": [{"text": " ".join(tokens), "logprobs": told}]}


@pytest.fixture
def served(request):
    features = getattr(request, "param", Server.features)
    kind = type("Handler", (Server,), {"features": features, "seen": []})
    server = HTTPServer(("127.0.0.1", 0), kind)
    endpoint = Endpoint(
        f"http://127.0.0.1:{server.server_port}", "m",
        body={"ignore_eos": True, "min_tokens": "{max_tokens}", "top_k": 1}, headers={"X-Key": "k"},
    )  # fmt: skip
    with serving_in_a_thread(server):
        yield endpoint, kind.seen


def soon():
    return time.monotonic() + 20


def test_answers_are_greedy_and_end_where_the_model_ends_them(served):
    endpoint, seen = served
    found = EndpointSource(endpoint).answers(["a b c", "d e"], 2, soon())
    assert found == [Answer("c b", ("c", "b")), Answer("e d", ("e", "d"))]
    path, body = seen[0]
    assert path == "/v1/completions"
    assert body == {
        "model": "m",
        "prompt": "a b c",
        "max_tokens": 2,
        "temperature": 0,
        "logprobs": 1,
        "top_k": 1,
    }


@pytest.mark.parametrize("served", [frozenset()], indirect=True)
def test_a_server_without_logprobs_is_asked_for_text(served):
    endpoint, seen = served
    source = EndpointSource(endpoint)
    assert source.answers(["a b", "c d"], 4, soon()) == [Answer("b a"), Answer("d c")]
    assert len(seen) == 3  # refused once, not asked again
    assert source.losses("one two three", soon()) == []


def test_chat_is_asked_with_messages(served):
    endpoint, _ = served
    chat = Endpoint(endpoint.url, "m", path="/v1/chat/completions")
    assert EndpointSource(chat).answers(["hello"], 2, soon()) == [Answer("ab", ("a", "b"))]


@pytest.mark.parametrize(
    ("served", "loss"),
    [(frozenset({"logprobs", "echo"}), 2.0), (frozenset({"prompt_logprobs"}), 3.0),
     (frozenset({"logprobs", "prompt_logprobs"}), 3.0)],
    indirect=["served"],
)  # fmt: skip
def test_losses_come_from_echo_or_from_prompt_logprobs(served, loss):
    endpoint, _ = served
    found = EndpointSource(endpoint).losses("word " * 500, soon())
    assert found == [loss] * 3


def test_a_server_that_dies_or_is_late_is_no_answer(served):
    endpoint, _ = served
    with pytest.raises(NoAnswer):
        EndpointSource(endpoint).answers(["die"], 2, soon())
    with pytest.raises(NoAnswer, match="time for the quality check is over"):
        EndpointSource(endpoint).answers(["a"], 2, time.monotonic() - 1)


def test_the_default_is_compared_with_itself_and_the_others_with_it(served):
    endpoint, _ = served
    wanted = {**Quality.from_dict({"prompts": "3", "max_tokens": "5"}).loaded(), "tasks": [
        {"prompt": "what is it", "answer": "it is what"}, {"prompt": "no", "answer": "yes"}]}  # fmt: skip
    source = EndpointSource(endpoint)
    metrics, facts = check_quality({**wanted, "is_default": True, "reference": None}, source, soon(), None)
    assert metrics["quality.token_agreement"].value == 1.0
    assert metrics["quality.exact_match"] == Estimate(0.5, math.sqrt(0.125), 2)
    assert len(facts["answers"]) == 3
    other = [{"text": "x", "tokens": ["x"]}, *facts["answers"][1:]]
    metrics, facts = check_quality({**wanted, "reference": other}, source, soon(), lambda *_: None)
    assert metrics["quality.token_agreement"].value == pytest.approx(10 / 15)
    assert "answers" not in facts
    metrics, facts = check_quality({**wanted, "is_default": False, "reference": None}, source, soon(), None)
    assert "quality.token_agreement" not in metrics
    assert "has not been measured" in facts["not_compared"]
