"""The section ``on`` of a study file: who is told when a trial is over, and when the study ends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from autotune.core.input_file import names_a_path, resolved
from autotune.core.kinds import By, Text
from autotune.core.named_code import CALL, refuse_absent
from autotune.core.section import Section
from autotune.errors import SpecError, under

_VARIABLE = Text("the name of a variable of the environment", pattern=r"[A-Za-z_][A-Za-z0-9_]*")
_CALL = Text("module:function or file.py:function", pattern=CALL)
_EXAMPLE = "https://host/path, or {url: ..., secret_variable: NAME}, or file.py:function"
# incoming web hooks whose address is all that it takes to write there
_SECRET_ADDRESS = re.compile(
    r"https://(hooks\.slack\.com/services|discord(app)?\.com/api/webhooks|[^/]+\.webhook\.office\.com)/\S",
    re.IGNORECASE,
)


def _url(raw: object, name: str) -> str:
    text = Text("an address", needed=True).read(raw, name)
    try:
        parts = urlsplit(text)
        wrong = not parts.hostname or parts.port == 0 or " " in text or not text.isascii()
    except ValueError:
        wrong = True
    if wrong or parts.scheme not in ("http", "https"):
        raise SpecError(f"{name} must be an address such as https://host/path, found {text!r}")
    if parts.username is not None or _SECRET_ADDRESS.match(text):
        raise SpecError(
            f"{name} of {parts.hostname} is a secret, and a study file is stored and shown",
            hint="leave it in a variable of the environment: `url_variable: NAME`",
        )
    return text


def _folder(raw: object, name: str) -> str:
    text = Text("a path").read(raw, name)
    if not names_a_path(text):
        raise SpecError(f"{name} must be a path, found {text!r}")
    return text


@dataclass(frozen=True)
class Hook(Section):
    """A receiver of events: an address that they are sent to, or a function that is called with them.

    Args:
        url: Address that JSON is posted to; nothing is followed.
        url_variable: Variable of the environment that holds the address, where that is a secret.
        secret_variable: Variable of the environment that holds the secret by which posts are signed.
        call: ``module:function`` or ``file.py:function``, called with the event in a process of its own.
        folder: Folder that the module is imported from; a relative one is taken from the study file's.
    """

    title: ClassVar[str] = "a hook"
    example: ClassVar[str] = _EXAMPLE

    url: Annotated[str, By(_url, what="an address, http or https")] = ""
    url_variable: Annotated[str, _VARIABLE] = ""
    secret_variable: Annotated[str, _VARIABLE] = ""
    call: Annotated[str, _CALL] = ""
    folder: Annotated[str, By(_folder, what="a path")] = ""

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Read a hook; a text is an address, or a function.

        Raises:
            SpecError: It is none, or says two things at once; ``path`` is relative to it.
        """
        if isinstance(data, str):
            is_call = "://" not in data and re.fullmatch(CALL, data)
            if not is_call and "://" not in data:
                raise SpecError(f"a hook must be an address or a function, found {data!r}", hint=_EXAMPLE)
            return cls(call=data) if is_call else cls(url=_url(data, "url"))
        found = super().from_dict(data)
        given = [key for key in ("url", "url_variable", "call") if getattr(found, key)]
        if len(given) != 1:
            said = " and ".join(given) or "none of them"
            raise SpecError(f"a hook needs one of url, url_variable and call, found {said}", hint=_EXAMPLE)
        if found.call and found.secret_variable:
            raise SpecError("a function is called, and nothing is signed", path=("secret_variable",),
                            at_key=True, hint="leave secret_variable out")  # fmt: skip
        if found.folder and not found.call:
            raise SpecError("a folder is for a function", path=("folder",), at_key=True, hint="leave it out")
        return found

    @property
    def label(self) -> str:
        """What it is called in messages: nothing of an address but its host."""
        if self.url:
            parts = urlsplit(self.url)
            return f"{parts.scheme}://{parts.netloc}"
        return self.call or f"${self.url_variable}"

    def located(self, folder: Path) -> Hook:
        """Return the hook with its file or its folder made absolute, starting from a study file's folder."""
        if not self.call:
            return self
        home = resolved((folder / self.folder).expanduser())
        file, _, name = self.call.rpartition(":")
        if file.endswith(".py"):
            with suppress(RuntimeError):  # the home of nobody: there is no such file
                file = str(Path(file).expanduser())
            return Hook(call=f"{resolved(home / file)}:{name}")
        return replace(self, folder=str(home))

    def refuse_absent(self, *, here: bool = True) -> None:
        """Refuse a function that is not there, without running any of it.

        Args:
            here: Whether it runs on this machine.

        Raises:
            SpecError: It is not.
        """
        if self.call:
            with under("call"):
                refuse_absent(self.call, Path(self.folder), Path(), here=here, awaited=True, called=True)


def _hooks(raw: object, name: str) -> tuple[Hook, ...]:
    listed = raw if isinstance(raw, list | tuple) else [raw]
    found = []
    for i, item in enumerate(listed):
        with under(*((i,) if isinstance(raw, list | tuple) else ())):
            found.append(Hook.from_dict(item))
    return tuple(found)


_HOOKS = By(
    _hooks,
    lambda hooks: [hook.to_dict() for hook in hooks],
    what="a list of addresses, of mappings with `url` or `url_variable`, and of functions",
)


@dataclass(frozen=True)
class Hooks(Section):
    """Receivers by event.

    Args:
        trial: Receivers of each trial that is over.
        end: Receivers of the end of the study's run, however it ends.
        once: Receivers of the end of this run, which are not kept.
    """

    title: ClassVar[str] = "on"
    example: ClassVar[str] = "{end: [https://host/path]}"

    trial: Annotated[tuple[Hook, ...], _HOOKS] = field(default=())
    end: Annotated[tuple[Hook, ...], _HOOKS] = field(default=())
    once: tuple[Hook, ...] = field(default=(), compare=False)

    def located(self, folder: Path) -> Hooks:
        """Return the hooks with the paths of their files made absolute."""
        return Hooks(*(tuple(hook.located(folder) for hook in hooks) for hooks in (self.trial, self.end)))

    def __bool__(self) -> bool:
        return bool(self.trial or self.end)


def read_hooks(data: Mapping[str, object] | None, folder: Path | None = None) -> Hooks:
    """Read the section ``on``.

    Args:
        data: The section.
        folder: Folder that relative paths start from; ``None`` where there are none.

    Raises:
        SpecError: Something is wrong; ``path`` is relative to the section.
    """
    found = Hooks.from_dict({} if data is None else data)
    return found if folder is None else found.located(folder)
