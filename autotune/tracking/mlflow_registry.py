"""The winner of a study in MLflow's model registry: a model for each study, a version for each winner.

A version is a name that others deploy from, with the files that deploy it; the alias ``recommended`` is that
of the last winner. Another study of the same name, of another ledger, leaves it alone and has one of its own.
A store without a registry, or one that refuses us, costs nothing but the entry.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

from autotune.core.ranking import Contender
from autotune.core.redact import redact, visible
from autotune.ledger import StudyRow
from autotune.tracking.items import DEPLOYMENT, winner_deployment
from autotune.tracking.mlflow_items import one_line

ALIAS = "recommended"
_UID, _CONFIG = "autotune.study_uid", "autotune.config"
_LONGEST = 5000  # of a tag and a description
_log = logging.getLogger("autotune.tracking")


def model_name(study: str) -> str:
    """Return the name of a study's model; ``/`` and ``:`` would end it in an address."""
    return "autotune-" + "".join(letter if letter not in "/:%" else "_" for letter in visible(study))[:200]


def winner_digest(row: StudyRow, best: Contender | None) -> str:
    """Return what identifies the winner and how it is deployed; empty without one to register."""
    deployment = winner_deployment(row, best)
    if best is None or not deployment:
        return ""
    return hashlib.blake2b(
        json.dumps([best.config, deployment], sort_keys=True).encode(), digest_size=8
    ).hexdigest()


def register(client: Any, row: StudyRow, best: Contender, run_id: str) -> bool:
    """Make the winner the latest version of the study's model, if it is not; return whether it is.

    Args:
        client: Client of the store.
        row: The study.
        best: The winner.
        run_id: Run of the study, which has the files.
    """
    from mlflow.exceptions import MlflowException

    name = model_name(row.name)
    tags = {
        _UID: row.uid,
        "autotune.study": row.name,
        "autotune.trial": str(best.trial.number),
        "autotune.winner": winner_digest(row, best),
        _CONFIG: redact(json.dumps(best.config, sort_keys=True))[:_LONGEST],
    }
    try:
        _find_or_make(client, name, row)
        versions = client.search_model_versions(f"name = '{_quoted(name)}'")
        mine = [v for v in versions if v.tags.get(_UID, row.uid) == row.uid]
        same = [v for v in mine if v.tags.get("autotune.winner") == tags["autotune.winner"]]
        if same:
            version = max(same, key=lambda v: int(v.version))
        else:
            source = f"{client.get_run(run_id).info.artifact_uri}/{DEPLOYMENT}"
            command = str(winner_deployment(row, best).get("line") or "")
            said = redact(f"Trial {best.trial.number} of study {row.name}. {command}")[:_LONGEST]
            version = client.create_model_version(name, source, run_id=run_id, tags=tags, description=said)
        held = str(client.get_registered_model(name).aliases.get(ALIAS, ""))
        theirs = held in {str(v.version) for v in versions} - {str(v.version) for v in mine}
        alias = f"{ALIAS}-{row.uid[:8]}" if theirs else ALIAS
        client.set_registered_model_alias(name, alias, version.version)
    except MlflowException as error:
        if _is_away(error):
            raise
        _log.info("no entry in the model registry: %s", one_line(error))
        return False
    return True


def withdraw(client: Any, row: StudyRow) -> bool:
    """Take the alias of the recommended one from the study's versions, which stay; return whether it is done.

    Args:
        client: Client of the store.
        row: The study.
    """
    from mlflow.exceptions import MlflowException

    name = model_name(row.name)
    try:
        versions = client.search_model_versions(f"name = '{_quoted(name)}'")
        mine = {str(v.version) for v in versions if v.tags.get(_UID, row.uid) == row.uid}
        for alias, version in client.get_registered_model(name).aliases.items():
            if alias in (ALIAS, f"{ALIAS}-{row.uid[:8]}") and str(version) in mine:
                client.delete_registered_model_alias(name, alias)
    except MlflowException as error:
        if _is_away(error):
            raise
        _log.info("the alias in the model registry stays: %s", one_line(error))
        return False
    return True


def _is_away(error: Exception) -> bool:
    """Return whether it is the store that did not answer: later it may."""
    from mlflow.exceptions import RestException

    return "API request to" in str(error) and not isinstance(error, RestException)


def _find_or_make(client: Any, name: str, row: StudyRow) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(
            name, {"autotune.study": row.name}, f"Winners of the study {row.name}."
        )


def _quoted(name: str) -> str:
    return name.replace("'", "_")
