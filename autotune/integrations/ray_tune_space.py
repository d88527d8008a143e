"""Search spaces of Ray Tune as ours, and configurations back as Tune's.

Distributions become parameters by the table that `autotune convert` uses. A `tune.choice` whose values hold
distributions becomes a label, and those distributions parameters with a condition on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ray.tune.search import sample

from autotune.convert.base import Conversion
from autotune.convert.entries import NONE
from autotune.convert.ray_distributions import NoEquivalent, read_distribution
from autotune.core.space import Space
from autotune.core.trial import Config, Value
from autotune.errors import SpecError
from autotune.integrations.ray_tune_space_data import (
    PLAIN,
    Choices,
    Slot,
    Tree,
    is_list,
    read_space_data,
    same,
    write_space_data,
)
from autotune.spec.yaml_text import Document

_OPAQUE = ("'", '["__ref_ph"', '["__fn_ph"')  # the last two are objects of a Tuner's param_space
_Path = tuple[str, ...]


@dataclass(frozen=True)
class TuneSpace:
    """A search space of Tune's as ours.

    Args:
        space: The same as ours.
        template: Configuration of Tune's, with a :class:`Slot` in the place of each distribution.
        choices: Values of Tune's by parameter and by value of ours, where these differ; they may hold slots.
        notes: A line for each thing that is searched otherwise than Tune would.
    """

    space: Space
    template: Tree
    choices: Choices = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def config(self, config: Config) -> dict[str, Tree]:
        """Return a configuration of ours as Tune's, constants included."""
        found: dict[str, Tree] = self._filled(self.template, config)
        return found

    def values(self, point: Mapping[str, Tree]) -> Config:
        """Return a configuration of Tune's as ours; parameters that it leaves out take their defaults.

        Args:
            point: Values nested as the space is, or with keys such as ``model/lr``.

        Raises:
            SpecError: It is not in the space.
        """
        if not isinstance(point, Mapping):
            raise SpecError(f"a configuration must be a mapping of names to values, found {point!r}")
        flat = isinstance(self.template, Mapping) and not point.keys() <= self.template.keys()
        found = dict(self._read(self.template, _unflattened(point) if flat else point, ()))
        rest = {p.name: p.fallback for p in self.space if p.name not in found}
        return self.space.validate({**rest, **found})

    def to_dict(self) -> dict[str, Tree]:
        """Return plain JSON data.

        Raises:
            TypeError: A constant or a choice is an object that JSON cannot hold.
        """
        data = write_space_data(self.space, self.template, self.choices)
        json.dumps(data)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Tree]) -> TuneSpace:
        """Read what :meth:`to_dict` wrote.

        Raises:
            SpecError: It is something else; ``path`` leads to it.
        """
        return cls(*read_space_data(data))

    def _filled(self, part: Tree, config: Config) -> Tree:
        if isinstance(part, Slot):
            if part.name not in config:
                raise SpecError(f"a configuration of this space needs {part.name!r}, found {config!r}")
            value = config[part.name]
            if part.name not in self.choices:
                return value
            for ours, theirs in self.choices[part.name]:
                if same(ours, value):
                    return self._filled(theirs, config)
            raise SpecError(f"{part.name} cannot be {value!r}: it is none of the values of its choice")
        if isinstance(part, Mapping):
            active = {key: item for key, item in part.items()
                      if not isinstance(item, Slot) or item.name in config}  # fmt: skip
            return {key: self._filled(item, config) for key, item in active.items()}
        return type(part)(self._filled(item, config) for item in part) if is_list(part) else part

    def _read(self, part: Tree, given: Tree, path: _Path) -> Iterator[tuple[str, Tree]]:
        """Yield the values of ours that a part of a configuration gives."""
        if isinstance(part, Slot):
            if part.name not in self.choices:
                yield part.name, given
                return
            for ours, theirs in self.choices[part.name]:
                if self._fits(theirs, given):
                    yield part.name, ours
                    yield from self._read(theirs, given, path)
                    return
            raise SpecError(f"{'/'.join(path)} cannot be {given!r}: it is none of the values of its choice")
        if isinstance(part, Mapping) and isinstance(given, Mapping):
            for key, item in given.items():
                if key not in part:
                    known = ", ".join(map(str, part)) or "none"
                    raise SpecError(f"unknown parameter {'/'.join((*path, str(key)))!r}; allowed: {known}")
                yield from self._read(part[key], item, (*path, str(key)))
        elif is_list(part) and is_list(given) and len(part) == len(given):
            for i, (item, value) in enumerate(zip(part, given, strict=True)):
                yield from self._read(item, value, (*path, str(i)))

    def _fits(self, part: Tree, given: Tree) -> bool:
        """Return whether a value of Tune's is one that a choice allows."""
        if isinstance(part, Slot):
            if part.name in self.choices:
                return any(self._fits(theirs, given) for _, theirs in self.choices[part.name])
            try:
                self.space[part.name].coerce(given)
            except SpecError:
                return False
            return True
        if isinstance(part, Mapping):
            return (
                isinstance(given, Mapping)
                and part.keys() == given.keys()
                and all(self._fits(part[key], given[key]) for key in part)
            )
        if is_list(part):
            return is_list(given) and len(part) == len(given) and all(map(self._fits, part, given))
        return bool(same(part, given))


def read_space(param_space: Mapping[str, Tree]) -> TuneSpace:
    """Return a search space of Tune's as ours.

    Args:
        param_space: Space as `tune.Tuner` takes it: distributions, constants, and mappings and lists of them.

    Raises:
        SpecError: Something in it has no equivalent, or nothing varies.
    """
    reader = _Reader(Conversion(Document({}, "param_space")), {})
    template = reader.read(param_space, (), "")
    if not (parameters := reader.out.study.get("parameters")):
        lacks = "it has no tune.uniform, tune.choice or another of them"
        raise SpecError(f"nothing varies in param_space: {lacks}")
    return TuneSpace(Space.from_dict(parameters), template, reader.choices, tuple(reader.out.notes))


@dataclass(frozen=True)
class _Reader:
    """Reader of a space: its distributions become parameters, and slots in the template."""

    out: Conversion
    choices: dict[str, list[tuple[Value, Tree]]]

    def read(self, part: Tree, path: _Path, when: str) -> Tree:
        """Return the template of a part.

        Args:
            part: A distribution, a constant, or a mapping or list of them.
            path: Place of it.
            when: Condition under which it is there; empty for always.
        """
        if len(path) > 64:  # a part may hold itself
            raise SpecError("param_space is nested too deep, or without end")
        if isinstance(part, sample.Domain):
            return self.distribution(part, path, when)
        if isinstance(part, Mapping):
            if part.keys() == {"grid_search"}:
                self.out.note((), f"tune.grid_search of {'/'.join(path)} is searched as tune.choice")
                return self.choice(list(part["grid_search"]), path, when)
            return {key: self.read(item, (*path, str(key)), when) for key, item in part.items()}
        if is_list(part):
            return type(part)(self.read(item, (*path, str(i)), when) for i, item in enumerate(part))
        return part

    def distribution(self, domain: Tree, path: _Path, when: str) -> Slot:
        if isinstance(domain, sample.Categorical):
            return self.choice(list(domain.categories), path, when)
        name, given = _called(domain)
        try:
            entry = read_distribution(self.out, name, given, path)
        except NoEquivalent as error:
            hint = "compute it in the trainable, from parameters that are searched"
            raise SpecError(f"{'/'.join(path)}: {error}", hint=hint) from None
        return self.slot(path, entry, when)

    def choice(self, values: list[Tree], path: _Path, when: str) -> Slot:
        """Return the slot of listed values; what is no number, text or truth value gets a label."""
        if not values:
            raise SpecError(f"{'/'.join(path)}: tune.choice needs a list of values, found {values!r}")
        pairs: list[tuple[Value, Tree]] = []
        for i, value in enumerate(values):
            if any(same(value, other) for _, other in pairs):
                continue  # listed twice
            label: Value = value if type(value) in PLAIN else _label(value, i)
            taken = any(same(label, other) for other, _ in pairs)
            pairs.append((f"{label}_{i}" if taken else label, value))
        slot = self.slot(path, self.out.listed(path, [label for label, _ in pairs]), when)
        if any(not same(label, value) for label, value in pairs):
            self.choices[slot.name] = [
                (label, self.read(value, path, f"{slot.name} == {json.dumps(label)}"))
                for label, value in pairs
            ]
        return slot

    def slot(self, path: _Path, entry: dict[str, Tree], when: str) -> Slot:
        entry = {**entry, "when": when} if when else entry
        return Slot(self.out.add((), "_".join(path), entry))


def _called(domain: Tree) -> tuple[str, dict[str, Tree]]:
    """Return the function of `tune` that makes a distribution, and its arguments."""
    if isinstance(domain, sample.Function):
        return "sample_from", {}
    sampler, step = domain.get_sampler(), None
    if isinstance(sampler, sample.Quantized):
        step = sampler.q
        sampler = sampler.sampler or domain.default_sampler_cls()
    given: dict[str, Tree] = {} if step is None else {"q": step}
    before = "" if step is None else "q"
    if isinstance(sampler, sample.Normal):
        return f"{before}randn", {"mean": sampler.mean, "sd": sampler.sd, **given}
    kind = {sample.Float: "uniform", sample.Integer: "randint"}.get(type(domain), type(domain).__name__)
    scale = "log" if isinstance(sampler, sample.LogUniform) else ""
    return f"{before}{scale}{kind}", {"lower": domain.lower, "upper": domain.upper, **given}


def _label(value: object, place: int) -> str:
    """Return the text by which a value of a choice is known here."""
    if value is None:
        return NONE
    try:
        text = json.dumps(value, separators=(",", ":"))
    except (TypeError, ValueError):
        text = str(getattr(value, "__name__", ""))
    plain = text and not any(part in text for part in _OPAQUE) and len(text) <= 80
    return text if plain else f"option_{place}"


def _unflattened(point: Mapping[str, Tree]) -> dict[str, Tree]:
    """Return a mapping with keys such as ``model/lr`` as a nested one."""
    nested: dict[str, Tree] = {}
    for key, value in point.items():
        *outer, last = str(key).split("/")
        at = nested
        for part in outer:
            at = at.setdefault(part, {})
        at[last] = value
    return nested
