"""Models that Ollama has pulled: a manifest names the GGUF file in its store."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from autotune.errors import EnvironmentProblem, SpecError
from autotune.init.gguf_model import card_of_file
from autotune.init.model import ModelCard

_NAME = re.compile(r"[a-z0-9][\w.-]*(?:/[\w.-]+)?(?::[\w.-]+)?", re.ASCII)
_MOST_MANIFEST = 1 << 20


def ollama_card(name: str) -> ModelCard:
    """Return the card of a model that ``ollama pull`` has fetched.

    Raises:
        SpecError: It is no name of a model, or its manifest is damaged.
        EnvironmentProblem: Ollama does not have it.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(f"{name!r} is no name of a model of Ollama", hint="`ollama list` shows those it has")
    store = Path(os.environ.get("OLLAMA_MODELS") or os.path.expanduser("~/.ollama/models"))
    base, _, tag = name.partition(":")
    owner = base if "/" in base else f"library/{base}"
    manifest = store / "manifests" / "registry.ollama.ai" / owner / (tag or "latest")
    try:
        with manifest.open("rb") as file:
            layers = json.loads(file.read(_MOST_MANIFEST))["layers"]
        kinds = {layer["mediaType"].rpartition(".")[2]: layer["digest"] for layer in layers}
        digest = re.fullmatch(r"sha256:([0-9a-f]{64})", kinds["model"])
    except OSError:
        raise EnvironmentProblem(
            f"Ollama has no {name!r}: there is no {manifest}", hint=f"ollama pull {name}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        digest = None
    if digest is None:
        raise SpecError(f"{manifest}: is no manifest of a model", hint=f"ollama pull {name}")
    return card_of_file(store / "blobs" / f"sha256-{digest[1]}", model=name, title=name)
