"""Addresses of a study's runs in the pages of an MLflow server, asked over its REST interface alone."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

_PAGE = 1000  # runs that a server gives at once
_LARGEST_ANSWER = 64 * 2**20


def is_server(tracking_uri: str) -> bool:
    """Return whether a store is an MLflow server."""
    return urllib.parse.urlsplit(tracking_uri).scheme in ("http", "https")


def run_addresses(tracking_uri: str, experiment: str, uid: str, *, timeout: float) -> dict[int, str]:
    """Return the address of each trial's run by the trial's number.

    Best effort: empty where the store is no server, does not answer in time or wants a password.

    Args:
        tracking_uri: Address of the store.
        experiment: Name of the experiment.
        uid: Identity of the study.
        timeout: Longest time to ask, in seconds.
    """
    parts = urllib.parse.urlsplit(tracking_uri)
    if not is_server(tracking_uri) or parts.username is not None:  # no password goes into a report
        return {}
    base, limit = tracking_uri.rstrip("/"), time.monotonic() + timeout
    try:
        asked = urllib.parse.urlencode({"experiment_name": experiment})
        found = _ask(f"{base}/api/2.0/mlflow/experiments/get-by-name?{asked}", None, limit)
        number = str(found["experiment"]["experiment_id"])
        page = f"{base}/#/experiments/{urllib.parse.quote(number)}/runs/"
        return {
            int(tags["autotune.trial"]): page + urllib.parse.quote(str(run["info"]["run_id"]))
            for run in reversed(_runs(base, number, uid, limit))  # of two of a trial the older one counts
            if "autotune.trial" in (tags := {tag["key"]: tag["value"] for tag in run["data"].get("tags", ())})
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # whatever answers may be no MLflow
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


def _ask(url: str, body: Mapping[str, object] | None, limit: float) -> dict[str, Any]:
    """Return what a server answers, as JSON.

    Raises:
        TimeoutError: Time is up.
    """
    left = limit - time.monotonic()
    if left <= 0:
        raise TimeoutError
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - http or https
    with urllib.request.urlopen(request, timeout=left) as answer:  # noqa: S310
        found = json.loads(answer.read(_LARGEST_ANSWER))
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found
