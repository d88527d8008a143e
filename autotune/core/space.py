"""The search space: parameters, conditions and constraints as one immutable object."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from autotune.core.expression import Expression
from autotune.core.parameter import Parameter, parameter_from_dict
from autotune.core.table import TABLE_LIMIT, Table, distinct, enumerate_space, random_rows
from autotune.core.trial import Config, config_key
from autotune.errors import SpecError, did_you_mean, refuse_unknown_keys


@dataclass(frozen=True)
class Count:
    """Say how many configurations are allowed.

    Args:
        value: The count, or its estimate.
        exact: Whether it was counted rather than estimated from random draws.
    """

    value: int
    exact: bool

    def __str__(self) -> str:
        return f"{self.value:,}" if self.exact else f"about {self.value:.2g}"


@dataclass(frozen=True, eq=False)
class Space:
    """Hold what may vary.

    Args:
        parameters: In the order in which people read them; names are unique.
        constraints: Expressions that every configuration meets, known before measuring.
        configurations: The allowed configurations when they are an explicit list; ``None`` otherwise.

    Raises:
        SpecError: A name is used twice or unknown, conditions form a circle, a constraint does not
            parse, a listed configuration is not valid, or nothing is allowed.
    """

    parameters: tuple[Parameter, ...]
    constraints: tuple[str, ...] = ()
    configurations: tuple[Config, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", tuple(self.parameters))
        object.__setattr__(self, "constraints", tuple(self.constraints))
        if not self.parameters:
            raise SpecError("a space needs at least one parameter", path=("parameters",))
        seen: set[str] = set()
        for parameter in self.parameters:
            if parameter.name in seen:
                raise SpecError(
                    f"parameter {parameter.name!r} is there twice", path=("parameters", parameter.name)
                )
            seen.add(parameter.name)
        self._check_conditions()
        for i, constraint in enumerate(self.constraint_expressions):
            if self._typed(constraint, ("constraints", i)) != "bool":
                raise SpecError(
                    f"a constraint must be true or false, found {constraint.text!r}", path=("constraints", i)
                )
        if self.configurations is not None:
            object.__setattr__(self, "configurations", self._read_configurations(self.configurations))

    def _typed(self, expression: Expression, path: tuple[str | int, ...]) -> str:
        try:
            return expression.check_types({p.name: p.kind for p in self.parameters})
        except SpecError as error:
            raise SpecError(error.message, path=path, hint=error.hint) from None

    def _check_conditions(self) -> None:
        placed: set[str] = set()
        rest = list(self.parameters)
        for parameter in rest:
            path = ("parameters", parameter.name, "when")
            if parameter.condition is not None and self._typed(parameter.condition, path) != "bool":
                raise SpecError(f"a condition must be true or false, found {parameter.when!r}", path=path)
        while rest:
            ready = [p for p in rest if p.condition is None or p.condition.names() <= placed]
            if not ready:
                names = ", ".join(p.name for p in rest)
                path = ("parameters", rest[0].name, "when")
                raise SpecError(f"conditions form a circle: {names}", path=path)
            placed.update(p.name for p in ready)
            rest = [p for p in rest if p.name not in placed]

    def _read_configurations(self, listed: Sequence[Mapping[str, Any]]) -> tuple[Config, ...]:
        result = []
        for i, config in enumerate(listed):
            try:
                result.append(self._canonical(config))
            except SpecError as error:
                raise SpecError(
                    error.message, path=("configurations", i, *error.path), hint=error.hint
                ) from None
        if not result:
            raise SpecError("configurations must list at least one", path=("configurations",))
        return tuple(distinct(result))

    @cached_property
    def constraint_expressions(self) -> tuple[Expression, ...]:
        """The parsed constraints."""
        parsed = []
        for i, text in enumerate(self.constraints):
            try:
                parsed.append(Expression.parse(text))
            except SpecError as error:
                raise SpecError(error.message, path=("constraints", i), hint=error.hint) from None
        return tuple(parsed)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters' names in order."""
        return tuple(p.name for p in self.parameters)

    @cached_property
    def _by_name(self) -> dict[str, Parameter]:
        return {p.name: p for p in self.parameters}

    def __getitem__(self, name: str) -> Parameter:
        """Return the parameter called ``name``.

        Raises:
            SpecError: There is none.
        """
        if name not in self._by_name:
            raise SpecError(
                f"unknown parameter {name!r}; allowed: {', '.join(self.names)}",
                path=(name,),
                at_key=True,
                hint=did_you_mean(name, self.names),
            )
        return self._by_name[name]

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def _canonical(self, config: Mapping[str, Any]) -> Config:
        """Return ``config`` with typed values in the space's order, inactive parameters left out."""
        for name in config:
            self[name]
        values: Config = {}
        pending = list(self.parameters)
        settled: set[str] = set()
        while pending:
            for parameter in pending:
                condition = parameter.condition
                if condition is None or condition.names() <= settled:
                    break
            pending.remove(parameter)
            settled.add(parameter.name)
            if condition is not None and not condition.holds(values):
                continue
            if parameter.name not in config:
                raise SpecError(f"the configuration lacks {parameter.name!r}; allowed: {parameter.allowed()}")
            try:
                values[parameter.name] = parameter.coerce(config[parameter.name])
            except SpecError as error:
                raise SpecError(error.message, path=(parameter.name,), hint=error.hint) from None
        return {name: values[name] for name in self.names if name in values}

    def validate(self, config: Mapping[str, Any]) -> Config:
        """Return the canonical form of ``config``; values of inactive parameters are dropped.

        Raises:
            SpecError: A name or value is wrong, an active parameter is missing or a constraint is broken.
        """
        canonical = self._canonical(config)
        broken = self.explain(canonical)
        if broken:
            raise SpecError(f"the configuration breaks {'; '.join(broken)}")
        return canonical

    def explain(self, config: Mapping[str, Any]) -> list[str]:
        """Return the constraints that a configuration breaks, in words; empty when it is allowed."""
        broken = [
            f"constraint {text!r}"
            for text, expression in zip(self.constraints, self.constraint_expressions, strict=True)
            if expression.holds(config) is False
        ]
        if self.configurations is not None and config_key(config) not in self._listed_keys:
            broken.append("the list of allowed configurations")
        return broken

    @cached_property
    def _listed_keys(self) -> frozenset[str]:
        return frozenset(config_key(config) for config in self.configurations or ())

    @cached_property
    def default_config(self) -> Config:
        """The configuration of the defaults; where a default is not stated, the nearest that is allowed.

        Raises:
            SpecError: Every default is stated and together they break a constraint, or nothing is allowed.
        """
        wished = self._canonical({p.name: p.fallback for p in self.parameters})
        broken = self.explain(wished)
        if not broken:
            return wished
        if self.configurations is None and all(p.default is not None for p in self.parameters):
            raise SpecError(f"the default configuration breaks {'; '.join(broken)}", path=("parameters",))
        table = self.table()
        if table is None:
            rows, _ = random_rows(self, 4096, np.random.default_rng(0))
            table = Table(self.parameters, rows)
        if not len(table):
            raise SpecError("no configuration is allowed by the constraints", path=("constraints",))
        stated = np.array([p.default is not None for p in self.parameters])
        differs = table.indices != table.encode(wished)
        # keep what was stated before what was only assumed; ties go to the first row
        return table.config(int(np.argmin(differs @ np.where(stated, 1000, 1))))

    @cached_property
    def _full_table(self) -> Table | None:
        return enumerate_space(self, TABLE_LIMIT)

    def table(self, limit: int = TABLE_LIMIT) -> Table | None:
        """Return every allowed configuration, or ``None`` when there are more than ``limit``.

        Continuous parameters appear with the levels of their grid.
        """
        if limit <= TABLE_LIMIT:
            full = self._full_table
            return full if full is not None and len(full) <= limit else None
        return self._full_table or enumerate_space(self, limit)

    def count(self) -> Count:
        """Return how many configurations are allowed: exact where they can be enumerated."""
        table = self.table()
        if table is not None:
            return Count(len(table), exact=True)
        total = 1
        for parameter in self.parameters:
            total *= len(parameter.levels)
        _, share = random_rows(self, 20_000, np.random.default_rng(0), rounds=16)
        return Count(int(total * (share or 0.0)), exact=False)

    def sample(self, n: int, rng: np.random.Generator) -> list[Config]:
        """Return ``n`` random allowed configurations, distinct while there are enough.

        Raises:
            SpecError: The constraints leave so little that no configuration was found.
        """
        table = self.table()
        if table is None:
            rows, _ = random_rows(self, n, rng)
            table = Table(self.parameters, rows)
            order = np.arange(len(rows))
        elif len(table):
            order = rng.permutation(len(table))[:n]
        if not len(table):
            raise SpecError("no configuration is allowed by the constraints", path=("constraints",))
        return table.configs(np.resize(order, n))

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the meaning: equal for spaces that differ only in order, spacing or descriptions."""
        meaning = {
            "parameters": {
                p.name: {k: v for k, v in _meaning(p).items() if k not in ("description", "unit")}
                for p in self.parameters
            },
            "constraints": sorted(e.text for e in self.constraint_expressions),
            "configurations": None if self.configurations is None else sorted(self._listed_keys),
        }
        text = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data with the keys of a study file; :meth:`from_dict` reads it back."""
        result: dict[str, Any] = {"parameters": {p.name: p.to_dict() for p in self.parameters}}
        if self.constraints:
            result["constraints"] = list(self.constraints)
        if self.configurations is not None:
            result["configurations"] = [dict(config) for config in self.configurations]
        return result

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], *, configurations: Sequence[Mapping[str, Any]] | None = None
    ) -> Space:
        """Build from the ``parameters`` and ``constraints`` of a study file.

        Args:
            data: ``{"parameters": {name: {"type": ...}}, "constraints": [...]}``, or the parameters alone.
            configurations: Allowed configurations when they are an explicit list, such as a measured table.

        Raises:
            SpecError: Something is wrong; ``path`` leads to it.
        """
        if data and all(isinstance(entry, Mapping) and "type" in entry for entry in data.values()):
            data = {"parameters": data}
        refuse_unknown_keys(data, ("parameters", "constraints", "configurations"), "a space")
        entries = data.get("parameters")
        if not isinstance(entries, Mapping) or not entries:
            raise SpecError(
                f"parameters must be a mapping of names to parameters, found {entries!r}",
                path=("parameters",),
            )
        parameters = []
        for name, entry in entries.items():
            try:
                parameters.append(parameter_from_dict(name, entry))
            except SpecError as error:
                raise SpecError(
                    error.message,
                    path=("parameters", name, *error.path),
                    at_key=error.at_key,
                    hint=error.hint,
                ) from None
        constraints = data.get("constraints", ())
        if isinstance(constraints, str) or not isinstance(constraints, Sequence):
            raise SpecError(
                f"constraints must be a list of expressions, found {constraints!r}", path=("constraints",)
            )
        listed = data.get("configurations") if configurations is None else configurations
        configs = None if listed is None else tuple(dict(config) for config in listed)
        return cls(tuple(parameters), tuple(constraints), configs)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Space:
        """Read the space of a study or catalogue file.

        Raises:
            SpecError: The file is wrong; the message names file, line and column.
        """
        from autotune.spec.load import load_space  # the reader lies a layer above; this is its front door

        return load_space(path)


def _meaning(parameter: Parameter) -> dict[str, Any]:
    entry = parameter.to_dict()
    if parameter.condition is not None:
        entry["when"] = parameter.condition.text
    return entry
