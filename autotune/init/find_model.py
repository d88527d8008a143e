"""Find the model that a user names: a folder, a GGUF file, a name on the Hugging Face hub, ``tiny``."""

from __future__ import annotations

import errno
import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from autotune.errors import EnvironmentProblem, SpecError, did_you_mean, shortened
from autotune.init.checkpoint import card_of_config
from autotune.init.gguf_header import begins_as_gguf
from autotune.init.gguf_model import PART, card_of_file
from autotune.init.model import ONNX, OPENVINO, TRITON, ModelCard, cut, tiny_card
from autotune.init.ollama_store import ollama_card
from autotune.spec import catalogue
from autotune.systems.served.tiny import TINY

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_HUB_S = 5.0  # for the hub to answer


def find_model(name: str, system: str = "") -> ModelCard:
    """Return the card of a model.

    Args:
        name: A folder, a GGUF file, a hub name, the name of a model that Ollama has, or ``tiny``.
        system: System that is to serve it; empty where that is open.

    Raises:
        SpecError: It is no model, or none that generates text.
        EnvironmentProblem: It is not on this machine and could not be asked for.
    """
    if name == TINY:
        return tiny_card()
    if not name.strip() or not name.isprintable():
        # it goes into a command line and into file names, and a study file holds it on one line
        raise SpecError(f"{name!r} names no model: it is empty, or has characters that are not printed")
    path = Path(name).expanduser()
    if system == "ollama":
        return ollama_card(name)
    if path.is_dir():
        return _of_folder(Path(os.path.abspath(path)))
    if path.exists():
        return card_of_file(Path(os.path.abspath(path)))
    if path.is_symlink():
        raise EnvironmentProblem(f"{name} is a link {_where_to(path)}", hint="name the model itself")
    if name.startswith(("/", ".", "~")) or not _HUB_NAME.fullmatch(name) or name.endswith(".gguf"):
        raise EnvironmentProblem(f"no such file or folder: {name}", hint=_near(path))
    return _of_hub(name)


def _where_to(link: Path) -> str:
    """Return where a link leads that leads to nothing."""
    try:
        link.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "that leads back to itself"
    return f"to {os.readlink(link)}, which is not there"


def looks_like_model(name: str) -> bool:
    """Return whether a word of the command line is a model rather than a study file.

    A folder is one, a file is one where it begins as GGUF does, and so is what has the form of a hub name.

    Raises:
        SpecError: It may be either, or neither.
    """
    path = Path(name).expanduser()
    shipped = next((kind for kind in catalogue.KINDS if name in catalogue.names(kind)), "")
    if name == TINY or name.endswith(".gguf"):
        return True
    if path.is_dir():
        if shipped:
            what = shipped.replace("_", " ").removesuffix("s")
            raise SpecError(
                f"{name!r} is a folder here and a {what} of the catalogue",
                hint=f"write ./{name} for the model in the folder",
            )
        return True
    if path.is_file():
        return begins_as_gguf(path)
    if shipped:
        raise SpecError(
            f"{name!r} is of the catalogue ({shipped}/{name}.yaml), and names no model to serve",
            hint=f"`autotune init MODEL --system {name}` writes a study file"
            if shipped == "search_spaces"
            else f"`autotune run MODEL --goal {name}` takes a model",
        )
    return "/" in name and not name.endswith((".yaml", ".yml", ".json"))


def _near(path: Path) -> str:
    folder = path.parent
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.name, names)


def _of_folder(folder: Path) -> ModelCard:
    """Return the card of what lies in a folder.

    Raises:
        SpecError: Several models lie there, or none that generates text.
        EnvironmentProblem: There is no model, or its weights are missing.
    """
    files = {entry.name: entry for entry in sorted(folder.iterdir())}
    by_end = {
        end: [f for n, f in files.items() if n.endswith(end)] for end in (".gguf", ".onnx", "_model.xml")
    }
    if "openvino_model.xml" in files:
        return _of_openvino(folder, files)
    if "config.json" in files and (weights := _weights(files)):
        return card_of_config(files["config.json"], str(folder), folder.name, weights)
    named = [file for file in by_end[".gguf"] if _is_model_file(file.name)]
    models = [file for file in named if begins_as_gguf(file)] or named[:1]
    if models:
        card = card_of_file(models[0])
        same = {str(card.model).replace("{quantization}", tag) for tag, _ in card.choices} or {str(models[0])}
        if {str(file) for file in models} <= same:
            return card
        listed = ", ".join(file.name for file in models[:6])
        raise SpecError(f"{folder} has {len(models)} GGUF files: name one of {listed}")
    if "config.pbtxt" in files:
        return ModelCard(folder.name, folder.name, TRITON)
    if by_end[".onnx"]:
        file = by_end[".onnx"][0]
        return ModelCard(str(file), folder.name, ONNX, stored=file.stat().st_size)
    if "adapter_config.json" in files:
        raise SpecError(f"{folder} is an adapter (LoRA), not a model", hint="name the model that it adapts")
    if "model_index.json" in files:
        raise SpecError(f"{folder} is a diffusion pipeline: it generates images, not text")
    if "config.json" in files:
        raise EnvironmentProblem(
            f"{folder} has a config.json and no weights (*.safetensors, *.bin)",
            hint="download them, or name the folder that has them",
        )
    raise EnvironmentProblem(
        f"{folder} holds no model: no config.json, no GGUF file, no openvino_model.xml",
        hint="name a model's folder, a GGUF file, or a name on the Hugging Face hub",
    )


def _is_model_file(name: str) -> bool:
    """Return whether a GGUF file may be a model by its name: no projector of images, no later part."""
    part = PART.search(name)
    return not name.startswith("mmproj") and (part is None or part[1] == "00001")


def _weights(files: Mapping[str, Path]) -> list[Path]:
    """Return the files of the weights: safetensors, or PyTorch's; those that repeat others are left out."""
    for pattern in (
        r"model.*\.safetensors",
        r"(?!consolidated|adapter).*\.safetensors",
        r"pytorch_model.*\.bin",
    ):
        found = [file for name, file in files.items() if re.fullmatch(pattern, name) and file.exists()]
        if found:
            return found
    return []


def _of_openvino(folder: Path, files: Mapping[str, Path]) -> ModelCard:
    """Return the card of a model that was exported for OpenVINO."""
    weights = files.get("openvino_model.bin")
    if weights is None:
        raise EnvironmentProblem(f"{folder} has openvino_model.xml and no openvino_model.bin")
    stored = weights.stat().st_size
    if "config.json" not in files:
        return ModelCard(str(folder), folder.name, OPENVINO, stored=stored)
    card = card_of_config(files["config.json"], str(folder), folder.name, [weights])
    bits = 8 * stored / card.parameters if card.parameters else card.bits
    packed = "" if bits > 12 else f"exported at {bits:.1f} bits"
    return replace(card, form=OPENVINO, stored=stored, bits=bits, quantization=packed)


def hub_cache() -> Path:
    """Return where the Hugging Face hub keeps what was downloaded."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.environ[name]).expanduser()
    if os.environ.get("HF_HOME"):
        return Path(os.environ["HF_HOME"]).expanduser() / "hub"
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(root) / "huggingface" / "hub"


def _of_hub(name: str) -> ModelCard:
    """Return the card of a model of the hub: from its cache, else its ``config.json`` is downloaded."""
    snapshot = _snapshot(hub_cache() / f"models--{name.replace('/', '--')}")
    if snapshot is not None:
        files = {entry.name: entry for entry in sorted(snapshot.iterdir())}
        config = files.get("config.json")
        if config is not None:
            weights = _weights(files)
            whole = bool(weights) and not _parts_missing(files, weights)
            return card_of_config(config, name, name, weights, present=whole)
    return card_of_config(_download(name), name, name, [], present=False)


def _parts_missing(files: Mapping[str, Path], weights: list[Path]) -> bool:
    """Return whether an index names files that are not there."""
    parts = [re.search(r"-of-(\d{5})\.", file.name) for file in weights]
    counts = [int(part[1]) for part in parts if part]
    return bool(counts) and len(weights) < max(counts)


def _snapshot(folder: Path) -> Path | None:
    """Return the newest snapshot of a model in the hub's cache; ``None`` without one."""
    try:
        revision = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        revision = ""
    named = folder / "snapshots" / revision
    if re.fullmatch(r"[0-9a-f]{40}", revision) and named.is_dir():
        return named
    try:
        found = sorted((folder / "snapshots").iterdir(), key=lambda entry: entry.stat().st_mtime)
    except OSError:
        return None
    return found[-1] if found else None


def _download(name: str) -> Path:
    """Return the ``config.json`` of a model of the hub.

    Raises:
        EnvironmentProblem: It could not be had; says why.
    """
    missing = f"{name} is no folder or file here, nor in the hub's cache ({hub_cache()})"
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise EnvironmentProblem(
            f"{missing}, and the hub cannot be asked without huggingface_hub",
            hint="pip install huggingface_hub, or name a model's folder",
        ) from None
    said = _unreachable()
    log = logging.getLogger("huggingface_hub")
    level = log.level
    try:
        if not said:
            log.setLevel(logging.CRITICAL)  # what it says of retries is said below, once
            return Path(hf_hub_download(name, "config.json", etag_timeout=_HUB_S))
    except Exception as error:  # noqa: BLE001 - the client raises what its network library does
        said = " ".join(str(error).split()) or type(error).__name__
    finally:
        log.setLevel(level)
    raise EnvironmentProblem(
        f"{missing}, and its config.json could not be downloaded: {cut(shortened(said))}",
        hint="check the name and the network; a gated model needs `hf auth login`; or name a model's folder",
    )


def _unreachable() -> str:
    """Return why the hub does not answer; empty where it does: its client tries for half a minute."""
    address = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return "HF_HUB_OFFLINE is set"
    if not address.startswith(("https://", "http://")):
        return f"HF_ENDPOINT is no address: {cut(address)}"
    try:
        asked = urllib.request.Request(address, method="HEAD")  # noqa: S310 - http or https, as checked above
        urllib.request.urlopen(asked, timeout=_HUB_S).close()  # noqa: S310
    except urllib.error.HTTPError:
        return ""  # it answers
    except (OSError, ValueError) as error:
        return f"{address} does not answer: {getattr(error, 'reason', None) or error}"
    return ""
