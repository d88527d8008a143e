"""Addresses of a study's runs in the pages of an MLflow server, asked over its REST interface alone."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from autotune.core.endpoint import Refused
from autotune.core.http_client import HttpConnection
from autotune.core.version import VERSION

_PAGE = 1000  # runs that a server gives at once
_LARGEST_ANSWER = 64 * 2**20
_HEADERS = {"User-Agent": f"autotune/{VERSION}", "Connection": "close"}


def is_server(tracking_uri: str) -> bool:
    """Return whether a store is an MLflow server."""
    return urlsplit(tracking_uri).scheme in ("http", "https")


def run_addresses(tracking_uri: str, experiment: str, uid: str, *, timeout: float) -> dict[int, str]:
    """Return the address of each trial's run by the trial's number.

    Best effort: empty where the store is no server, does not answer in time or wants a password.

    Args:
        tracking_uri: Address of the store.
        experiment: Name of the experiment.
        uid: Identity of the study.
        timeout: Longest time to ask, in seconds.
    """
    parts = urlsplit(tracking_uri)
    if not is_server(tracking_uri) or parts.username is not None:  # no password goes into a report
        return {}
    base, limit = tracking_uri.rstrip("/"), time.monotonic() + timeout
    try:
        asked = urlencode({"experiment_name": experiment})
        found = _ask(f"{base}/api/2.0/mlflow/experiments/get-by-name?{asked}", None, limit)
        number = str(found["experiment"]["experiment_id"])
        page = f"{base}/#/experiments/{quote(number)}/runs/"
        return {
            int(tags["autotune.trial"]): page + quote(str(run["info"]["run_id"]))
            for run in reversed(_runs(base, number, uid, limit))  # of two of a trial the older one counts
            if "autotune.trial" in (tags := {tag["key"]: tag["value"] for tag in run["data"].get("tags", ())})
        }
    except (Refused, ValueError, LookupError, TypeError, AttributeError):  # whatever answers may be no MLflow
        return {}


def _runs(base: str, experiment: str, uid: str, limit: float) -> list[Any]:
    asked: dict[str, object] = {
        "experiment_ids": [experiment],
        "filter": f"tags.`autotune.study_uid` = '{uid}'",
        "max_results": _PAGE,
        "order_by": ["attributes.start_time ASC"],
    }
    found: list[Any] = []
    while True:
        answer = _ask(f"{base}/api/2.0/mlflow/runs/search", asked, limit)
        found += answer.get("runs") or ()
        if not answer.get("next_page_token"):
            return found
        asked["page_token"] = answer["next_page_token"]


def _ask(url: str, body: Mapping[str, object] | None, deadline: float) -> dict[str, Any]:
    found = json.loads(ask_server(url, body, deadline=deadline, most_bytes=_LARGEST_ANSWER))
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def ask_server(
    url: str, body: Mapping[str, object] | None = None, *, deadline: float, most_bytes: int
) -> bytes:
    """Return what an MLflow server answers, asked through the proxy that the environment names for it.

    Args:
        url: Address with its query.
        body: JSON to post; ``None`` for a GET.
        deadline: ``time.monotonic()`` value by which the answer must have come.
        most_bytes: Longest answer.

    Raises:
        Refused: It does not answer with 200.
    """
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxied = not proxy_bypass(parts.netloc.rpartition("@")[2])
    proxy = getproxies().get(parts.scheme, "") if proxied else ""
    connection = HttpConnection(f"{parts.scheme}://{parts.netloc}", proxy=proxy)
    try:
        data = None if body is None else json.dumps(body).encode()
        path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        answer = connection.ask(path, data, _HEADERS, deadline=deadline, most_bytes=most_bytes)
        found = answer.read()
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        raise Refused.of_answer(answer.status, answer.headers, found)
    return found
