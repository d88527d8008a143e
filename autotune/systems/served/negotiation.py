"""How a server wants to be asked, found out by its first requests.

What only the study's owner can mend (a key, a path, a field) is told from what the configuration did, and
from a server that is busy. What can be found out is: completions or chat, ``max_completion_tokens``, fields
that this server does not take and that the study did not ask for. All of it is noted among the facts.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from autotune.core.diagnosis import Reading, matcher
from autotune.core.endpoint import BUSY, Endpoint, Refused, count_of, hint_of_redirect
from autotune.core.json_object import JsonObject
from autotune.core.measurement import Cause, Failure
from autotune.systems.base import AttemptFailed, NotReady
from autotune.systems.diagnosis import is_out_of_memory
from autotune.systems.served.client import ask
from autotune.systems.shortfall import shortfall

PATHS = ("/v1/completions", "/v1/chat/completions")
"""Interfaces that are tried, where a study names none."""

_TOKENS = 2  # the least that shows that a second step works too
_SHOWN = 200  # characters of an answer that are quoted
_PROMPT = "The quick brown fox"
_BUSY_S = 1.0  # between requests to a server that does not say when to come back
_LONGEST_WAIT_S = 30.0  # at once for a server that we launched: its death is noticed in between
_NEW_NAME = "max_completion_tokens"
_OURS = ("temperature",)  # fields that requests have unless the study says otherwise
UNKNOWN = (
    Reading("unrecogni[sz]ed", "Unrecognized request argument supplied: ignore_eos"),
    Reading("unknown", "Unknown field: min_tokens"),
    Reading("unexpected", "create() got an unexpected keyword argument 'ignore_eos'"),
    Reading(
        "unsupported (?!value)", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    ),
    Reading("not permitted", "ignore_eos: Extra inputs are not permitted"),
    Reading("extra_forbidden", "{'type': 'extra_forbidden', 'loc': ('body', 'ignore_eos')}"),
    Reading("not allowed", "Additional properties are not allowed ('ignore_eos' was unexpected)"),
    Reading("no such (?:field|parameter|argument)", "no such field: ignore_eos"),
    Reading(
        "not (?:a )?(?:known|supported) (?:field|parameter|argument)", "min_tokens is not a known parameter"
    ),
)
"""Answers about a field that this server does not know; in any case of letters."""

_UNKNOWN = re.compile(matcher(UNKNOWN).pattern, re.IGNORECASE)
_FORBIDDEN, _NOWHERE, _WRONG = (401, 403, 407), (404, 405, 410), (400, 422)


@dataclass(frozen=True)
class Asking:
    """The owners of the fields of a request, and what may be tried.

    Args:
        paths: Interfaces to try, the endpoint's own first.
        optional: Fields of the endpoint's body that the study did not ask for.
        varied: Fields of the endpoint's body that are parameters of the configuration.
        launched: Whether the server is one that we launched, which may still be starting.
    """

    paths: Sequence[str] = ()
    optional: Sequence[str] = ()
    varied: Sequence[str] = ()
    launched: bool = True


@dataclass
class _Noted:
    """The facts that were found out on the way."""

    changes: list[str] = field(default_factory=list)
    waits: int = 0
    waited_s: float = 0.0

    def facts(self) -> dict[str, Any]:
        found: dict[str, object] = {"request_changes": self.changes} if self.changes else {}
        if self.waits:
            found["told_to_wait"] = {"times": self.waits, "seconds": round(self.waited_s, 3)}
        return found


def first_answer(
    endpoint: Endpoint, deadline: float, asking: Asking | None = None
) -> tuple[Endpoint, dict[str, Any]]:
    """Ask for a few tokens, so that no server is measured that cannot answer.

    Args:
        endpoint: Endpoint to ask first.
        deadline: ``time.monotonic()`` value by which the answer must be there.
        asking: Changes that may be tried until the server takes the request; none where not given.

    Returns:
        The endpoint as this server wants to be asked, and what was found out.

    Raises:
        NotReady: The connection broke, or the server is busy: it is ending, or not quite there.
        AttemptFailed: It refuses, or has no answer by the deadline.
    """
    asking, noted = asking or Asking(), _Noted()
    began = time.monotonic()
    while True:
        try:
            answer = _ask_few(endpoint, deadline)
            break
        except Refused as refusal:
            if _waited(refusal, deadline, asking, noted):
                continue
            changed = _adapted(endpoint, refusal, asking)
            if changed is None:
                _fail(endpoint, refusal, deadline, asking)
            endpoint, note = changed
            noted.changes.append(note)
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    if not choices or not isinstance(choices, list):
        raise _no_answer(f"the first answer has no choices: {_shown(answer)}", asking)
    usage = answer.get("usage")
    tokens = count_of(usage.get("completion_tokens")) if isinstance(usage, Mapping) else None
    return endpoint, {
        "first_answer_s": round(time.monotonic() - began - noted.waited_s, 3),
        "first_answer_tokens": tokens,
        "path": endpoint.path,
        **({"omitted": list(endpoint.omit)} if endpoint.omit else {}),
        **noted.facts(),
    }


def _no_answer(text: str, asking: Asking) -> AttemptFailed:
    """Return what it means that something came which is no answer."""
    return AttemptFailed(Failure(Cause.WRONG_OUTPUT, text)) if asking.launched else mistake(text)


def _shown(answer: object) -> str:
    """Return the beginning of what came; what is nested deep is shown by its text."""
    return repr(answer)[:_SHOWN] if isinstance(answer, str) else json.dumps(answer)[:_SHOWN]


def as_measured(endpoint: Endpoint, facts: JsonObject) -> Endpoint:
    """Return an endpoint asked as the server wanted it when it was measured.

    Args:
        endpoint: Endpoint as the study describes it.
        facts: Facts of the measurement's system, with what :func:`first_answer` found out.
    """
    renamed = any(str(change).startswith(_NEW_NAME) for change in facts.get("request_changes") or ())
    return replace(
        endpoint,
        model=endpoint.model or str(facts.get("served_model") or ""),
        path=str(facts.get("path") or endpoint.path),
        body={**endpoint.body, **({_NEW_NAME: "{max_tokens}"} if renamed else {})},
        omit=tuple(facts.get("omitted") or ()),
    )


def mistake(text: str) -> AttemptFailed:
    """Return the failure that only the study's owner can mend; it ends the study."""
    return AttemptFailed(Failure(Cause.OWNER_MISTAKE, text))


def request_body(endpoint: Endpoint, prompt: str, max_tokens: int) -> dict[str, Any]:
    """Return one request that is not streamed, deterministic, with the fields of the endpoint."""
    own = {key: max_tokens if value == "{max_tokens}" else value for key, value in endpoint.body.items()}
    asked: dict[str, object] = {"messages": [{"role": "user", "content": prompt}]}
    if not endpoint.is_chat:
        asked = {"prompt": prompt}
    body = {"model": endpoint.model, **asked, "max_tokens": max_tokens, "temperature": 0.0, **own}
    if _NEW_NAME in own:
        del body["max_tokens"]
    return {key: value for key, value in body.items() if key not in endpoint.omit}


def hint_of(endpoint_url: str, path: str, refusal: Refused) -> str:
    """Return what the owner may do about a refusal, with a separator before it; empty where it is plain."""
    if refusal.status in _NOWHERE and endpoint_url.rstrip("/").endswith("/v1") and path.startswith("/v1/"):
        return "; the url ends with /v1 and the path begins with it: leave /v1 out of the url"
    if refusal.status in _FORBIDDEN:
        return "; `key_variable: NAME` names the environment variable that holds the server's key"
    if refusal.redirected:
        return hint_of_redirect(endpoint_url, path, refusal.location)
    if "CERTIFICATE_VERIFY_FAILED" in refusal.text:
        return "; a certificate of your own is trusted if SSL_CERT_FILE names its file"
    if "WRONG_VERSION_NUMBER" in refusal.text:
        return "; the server does not speak TLS: the url is http://"
    return ""


def _ask_few(endpoint: Endpoint, deadline: float) -> Any:
    body = request_body(endpoint, _PROMPT, _TOKENS)
    left = deadline - time.monotonic()
    return ask(endpoint.url, endpoint.path, body, headers=endpoint.headers, timeout=left)


def _waited(refusal: Refused, deadline: float, asking: Asking, noted: _Noted) -> bool:
    """Return whether the server was busy and has been waited for."""
    wait = refusal.retry_after
    if wait is None and refusal.status == BUSY[0]:
        wait = _BUSY_S
    if refusal.status not in BUSY or wait is None:
        return False
    if time.monotonic() + wait >= deadline:
        raise NotReady(f"{refusal}; it asks to come back after {wait:g} s") from None
    wait = min(wait, _LONGEST_WAIT_S) if asking.launched else wait
    time.sleep(wait)
    noted.waits += 1
    noted.waited_s += wait
    return True


def _adapted(endpoint: Endpoint, refusal: Refused, asking: Asking) -> tuple[Endpoint, str] | None:
    """Return the endpoint asked in another way, and what was changed; ``None`` if nothing is left to try."""
    text, body = refusal.text.lower(), endpoint.body
    chat = refusal.status in _WRONG and "chat" in text
    if refusal.status in _NOWHERE or chat:
        later = list(asking.paths)[list(asking.paths).index(endpoint.path) + 1 :] if asking.paths else []
        if later:
            return replace(endpoint, path=later[0]), f"asked at {later[0]}: {endpoint.path} answers {refusal}"
    if refusal.status not in _WRONG or is_out_of_memory(refusal.text):
        return None
    if _NEW_NAME in text and _NEW_NAME not in body and "max_tokens" not in body:
        changed = replace(endpoint, body={**body, _NEW_NAME: "{max_tokens}"})
        return changed, f"{_NEW_NAME} in place of max_tokens: {refusal}"
    free = [name for name in asking.optional if name in body and name not in endpoint.omit]
    named = [name for name in free if name.lower() in text]
    named = named or [n for n in _OURS if n in text and n not in body and n not in endpoint.omit]
    if not named and not any(_names(text, name) for name in body if name not in asking.optional):
        named = free  # the server does not say which
    if not named:
        return None
    return replace(endpoint, omit=(*endpoint.omit, *named)), f"without {', '.join(named)}: {refusal}"


def _names(text: str, name: str) -> bool:
    """Return whether a server's text (in lower case) speaks of a field."""
    return re.search(rf"\b{re.escape(name.lower())}\b", text) is not None


def _fail(endpoint: Endpoint, refusal: Refused, deadline: float, asking: Asking) -> NoReturn:
    """Raise what a refusal means."""
    where = f"{endpoint.url}{endpoint.path}"
    if refusal.redirected:
        raise mistake(f"{where}: {refusal}{hint_of(endpoint.url, endpoint.path, refusal)}") from None
    if refusal.malformed:
        raise _no_answer(f"{where}: {refusal}", asking) from None
    if refusal.status in (0, 502, 503, 504):
        if refusal.unreachable and not asking.launched:
            raise mistake(f"{where}: {refusal}{hint_of(endpoint.url, endpoint.path, refusal)}") from None
        raise NotReady(str(refusal)) from None
    if is_out_of_memory(refusal.text):
        text = f"the first request was refused: {refusal}"
        raise AttemptFailed(Failure(Cause.OUT_OF_MEMORY, text, shortfall=shortfall(refusal.text))) from None
    if refusal.status in (*_FORBIDDEN, *_NOWHERE):
        both = refusal.status in _NOWHERE and len(asking.paths) > 1
        tried = " and ".join(asking.paths) if both else endpoint.path
        more = hint_of(endpoint.url, endpoint.path, refusal)
        raise mistake(f"{endpoint.url} refuses requests at {tried}: {refusal}{more}") from None
    unknown = [name for name in endpoint.body if _names(refusal.text.lower(), name)]
    if refusal.status in _WRONG and unknown and _UNKNOWN.search(refusal.text):
        fields = ", ".join(map(repr, unknown))
        raise mistake(f"{where} does not know the field {fields}: {refusal}") from None
    text = f"the first request was refused: {refusal}"
    if not 400 <= refusal.status < 500:
        raise AttemptFailed(Failure(Cause.CRASHED_UNDER_LOAD, text)) from None
    if not asking.launched and not _taken_without(endpoint, deadline, asking.varied):
        raise mistake(f"{text}; it is refused without the configuration's own fields too") from None
    raise AttemptFailed(Failure(Cause.REJECTED_FLAGS, text)) from None


def _taken_without(endpoint: Endpoint, deadline: float, varied: Sequence[str]) -> bool:
    """Return whether the server takes the request without the fields of the configuration."""
    rest = {name: value for name, value in endpoint.body.items() if name not in varied}
    if len(rest) == len(endpoint.body):
        return False
    try:
        _ask_few(replace(endpoint, body=rest), deadline)
    except Refused:
        return False
    return True
