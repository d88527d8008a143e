"""The search space: parameters, conditions and constraints as one immutable object."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from autotune.core import allowed
from autotune.core.arguments import check_arguments, read_count, read_entries
from autotune.core.constraint_graph import ConstraintGraph
from autotune.core.cycles import cycle_of
from autotune.core.deprecation import warn_deprecated
from autotune.core.expression import Expression
from autotune.core.front_doors import READERS
from autotune.core.html import html_table, short
from autotune.core.json_object import JsonObject
from autotune.core.parameter import Float, Parameter
from autotune.core.parameter.base import show
from autotune.core.space_data import read_derived, read_space
from autotune.core.table import TABLE_LIMIT, Indices, Table, distinct, with_derived
from autotune.core.trial import Config, config_key
from autotune.core.units import counted
from autotune.errors import SpecError, did_you_mean, under


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Space:
    """A search space: parameters, conditions and constraints.

    Args:
        parameters: Parameters in the order in which people read them; names are unique.
        constraints: Expressions that every configuration meets, known before measuring.
        derived: Expressions by name for values that are computed, not searched: configurations carry them,
            constraints and conditions may mention them.
        configurations: The allowed configurations when they are an explicit list; ``None`` otherwise.

    Raises:
        SpecError: A name is used twice or unknown, conditions are cyclic, a constraint does not
            parse, a listed configuration is not valid, or nothing is allowed.
    """

    parameters: tuple[Parameter, ...]
    constraints: tuple[str, ...] = ()
    configurations: tuple[Config, ...] | None = None
    derived: Mapping[str, str] = field(default_factory=dict)

    @check_arguments(...)
    def __init__(
        self,
        parameters: Iterable[Parameter],
        constraints: Iterable[str] = (),
        configurations: Iterable[Mapping[str, object]] | None = None,
        derived: Mapping[str, str] | None = None,
    ) -> None:
        for key, value in (
            ("parameters", parameters),
            ("constraints", constraints),
            ("configurations", configurations),
            ("derived", {} if derived is None else derived),
        ):
            object.__setattr__(self, key, value)
        _check_arguments(self)
        if not self.parameters:
            raise SpecError("a space needs at least one parameter", path=("parameters",))
        seen: set[str] = set()
        for parameter in self.parameters:
            if parameter.name in seen:
                text = f"duplicate parameter {parameter.name!r}"
                raise SpecError(text, path=("parameters", parameter.name))
            seen.add(parameter.name)
        object.__setattr__(self, "derived", dict(self.derived))
        _ = self.derived_expressions  # their mistakes are theirs, not those of what mentions them
        self._check_conditions()
        for i, constraint in enumerate(self.constraint_expressions):
            if self._typed(constraint, ("constraints", i)) != "bool":
                text = f"a constraint must be true or false, found {constraint.text!r}"
                raise SpecError(text, path=("constraints", i))
        if self.configurations is not None:
            object.__setattr__(self, "configurations", self._read_configurations(self.configurations))
            object.__setattr__(self, "parameters", tuple(self._listed(p) for p in self.parameters))
            vars(self).pop("_by_name", None)  # it knows those without the listed levels

    def _typed(self, expression: Expression, path: tuple[str | int, ...]) -> str:
        with under(*path):
            return expression.check_types(self.kinds)

    def _check_conditions(self) -> None:
        placed: set[str] = set()
        for parameter in self.parameters:
            path = ("parameters", parameter.name, "when")
            if parameter.condition is not None and self._typed(parameter.condition, path) != "bool":
                raise SpecError(f"a condition must be true or false, found {parameter.when!r}", path=path)
        object.__setattr__(self, "parameters", tuple(self._resolved(p) for p in self.parameters))
        rest = list(self.parameters)
        while rest:
            ready = [p for p in rest if p.condition is None or p.condition.names() <= placed]
            if not ready:
                needs = {p.name: p.condition.names() - placed for p in rest if p.condition is not None}
                path = ("parameters", rest[0].name, "when")
                raise SpecError(f"cyclic conditions: {cycle_of(needs)}", path=path)
            placed.update(p.name for p in ready)
            rest = [p for p in rest if p.name not in placed]

    def _resolved(self, parameter: Parameter) -> Parameter:
        """Return the parameter with the derived values in its condition written out; ``when`` stays."""
        if parameter.condition is None or not parameter.condition.names() & self.derived.keys():
            return parameter
        copy = replace(parameter)
        with under("parameters", parameter.name, "when"):
            vars(copy)["condition"] = parameter.condition.substitute(self.derived_expressions)
        return copy

    def _listed(self, parameter: Parameter) -> Parameter:
        """Return a parameter that has every listed value among its levels: a row stands for one entry."""
        if parameter.discrete or not isinstance(parameter, Float):
            return parameter
        values = {c[parameter.name] for c in self.configurations or () if parameter.name in c}
        return parameter if values <= set(parameter.levels) else parameter.with_levels(values)

    def _read_configurations(self, listed: Sequence[Mapping[str, object]]) -> tuple[Config, ...]:
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
        """The parsed constraints, derived values written out."""
        parsed = []
        for i, text in enumerate(self.constraints):
            with under("constraints", i):
                expression = Expression.parse(text)
                expression.check_types(self.kinds)  # in the words of the file, before derived values go
                parsed.append(expression.substitute(self.derived_expressions))
        return tuple(parsed)

    @cached_property
    def derived_expressions(self) -> dict[str, Expression]:
        """The derived values, each over parameters alone."""
        return read_derived(self.derived, {p.name: p.kind for p in self.parameters})

    @cached_property
    def kinds(self) -> dict[str, str]:
        """What expressions may mention: ``number``, ``text`` or ``bool`` by name, derived ones too."""
        kinds = {p.name: p.kind for p in self.parameters}
        return kinds | {name: e.check_types(kinds) for name, e in self.derived_expressions.items()}

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
        if not isinstance(name, str) or name not in self._by_name:
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

    def __repr__(self) -> str:
        rules = f", {counted(len(self.constraints), 'constraint')}" if self.constraints else ""
        return short(f"<Space: {counted(len(self), 'parameter')}{rules}: {', '.join(self.names)}") + ">"

    def _repr_html_(self) -> str:
        default = self.default_config
        rows = [
            (p.name, p.type_name, _values_of(p), show(default.get(p.name, "-")), p.unit, p.when or "")
            for p in self.parameters
        ]
        said = [*(f"constraint: {text}" for text in self.constraints)]
        said += [f"{name} = {text}" for name, text in self.derived.items()]
        title = f"Space: {counted(len(self), 'parameter')}"
        if self.configurations is not None:
            title += f", {counted(len(self.configurations), 'configuration')} listed"
        return html_table(
            title, ("parameter", "type", "values", "default", "unit", "when"), rows, "\n".join(said)
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def _canonical(self, config: Mapping[str, object]) -> Config:
        """Return ``config`` with typed values in the space's order, inactive parameters left out.

        Derived values are computed, whatever ``config`` says of them.
        """
        if not isinstance(config, Mapping):
            raise SpecError(f"a configuration must be a mapping of names to values, found {config!r}")
        for name in config:
            if name not in self.derived:
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
            with under(parameter.name):
                values[parameter.name] = parameter.coerce(config[parameter.name])
        ordered = {name: values[name] for name in self.names if name in values}
        return with_derived(ordered, self.derived_expressions)

    @check_arguments("config")
    def validate(self, config: Mapping[str, object]) -> Config:
        """Return the canonical form of ``config``; values of inactive parameters are dropped.

        Raises:
            SpecError: A name or value is wrong, an active parameter is missing or a constraint is broken.
        """
        canonical = self._canonical(config)
        broken = self.explain(canonical)
        if broken:
            raise SpecError(f"the configuration breaks {'; '.join(broken)}")
        return canonical

    @check_arguments()
    def explain(self, config: JsonObject) -> list[str]:
        """Return the constraints that a configuration breaks, in words; empty when it is allowed."""
        broken = []
        for text, expression in zip(self.constraints, self.constraint_expressions, strict=True):
            if expression.holds(config) is False:
                values = [f"{name}={show(config[name])}" for name in self.names
                          if name in config and name in expression.names()]  # fmt: skip
                broken.append(f"constraint {text!r} ({', '.join(values)})")
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
        # keep what was stated before what was only assumed
        stated = np.array([1000.0 if p.default is not None else 1.0 for p in self.parameters])
        row = Table(self.parameters, np.empty((0, len(self)), np.int32)).encode(wished)
        if self.configurations is None:
            prices = {i: np.where(np.arange(len(p.levels)) == p.level_of(p.fallback), 0.0, stated[i])
                      for i, p in enumerate(self.parameters)}  # fmt: skip
            found = self.constraint_graph.nearest(row, prices)
            if found is not None and allowed.keeps_residual(self.constraint_graph, found[None])[0]:
                return self.as_table(found[None]).config(0)
        table = self.table() or self.as_table(self.draw(4096, np.random.default_rng(0)))
        if not len(table):
            raise SpecError(allowed.why_empty(self.constraint_graph, self.constraints), path=("constraints",))
        return table.config(int(np.argmin((table.indices != row) @ stated)))

    @cached_property
    def constraint_graph(self) -> ConstraintGraph:
        """What counts, draws and completes rows; it does not know :attr:`configurations`."""
        return ConstraintGraph(self.parameters, self.constraint_expressions)

    @property
    def elimination(self) -> ConstraintGraph:
        """The name of :attr:`constraint_graph` so far."""
        warn_deprecated("Space.elimination", "Space.constraint_graph", "0.1")
        return self.constraint_graph

    @cached_property
    def _full_table(self) -> Table | None:
        if self.configurations is None:
            rows = allowed.enumerate_rows(self.constraint_graph, TABLE_LIMIT)
            return None if rows is None else self.as_table(rows)
        return self.as_table(self._listed_rows)

    @cached_property
    def _listed_rows(self) -> Indices:
        encode = self.as_table(np.empty((0, len(self)), np.int32)).encode
        return np.array([encode(config) for config in self.configurations or ()], np.int32)

    def as_table(self, rows: Indices) -> Table:
        """Return rows of level indices, shape ``n x d``, as configurations."""
        return Table(self.parameters, rows, self.derived_expressions)

    @check_arguments()
    def table(self, limit: int = TABLE_LIMIT) -> Table | None:
        """Return every allowed configuration, or ``None`` when there are more than ``limit``.

        Continuous parameters appear with the levels of their grid. A list of configurations is a table
        whatever its length.
        """
        if limit <= TABLE_LIMIT or self.configurations is not None:
            full = self._full_table
            return full if full is not None and (len(full) <= limit or self.configurations) else None
        rows = allowed.enumerate_rows(self.constraint_graph, limit)
        return None if rows is None else self.as_table(rows)

    @check_arguments()
    def searchable(self, trials: int) -> int:
        """Return how many trials a search of at most ``trials`` has: no configuration is searched twice."""
        few = self.table(min(trials, TABLE_LIMIT))
        return trials if few is None else min(trials, len(few))

    def count(self) -> allowed.Count:
        """Return how many configurations are allowed: exact wherever no constraint is too wide for it."""
        if self.configurations is not None:
            return allowed.Count(len(self.configurations), exact=True)
        return self._count

    @cached_property
    def _count(self) -> allowed.Count:
        return allowed.count(self.constraint_graph)

    def excluded(self) -> list[float]:
        """Return the share of configurations that each constraint alone excludes, in [0, 1]."""
        alone = [ConstraintGraph(self.parameters, part) for part in ((), *zip(self.constraint_expressions))]
        total, *kept = (allowed.count(constraint_graph).value for constraint_graph in alone)
        return [1.0 - value / total for value in kept]

    @check_arguments()
    def draw(self, n: int, rng: np.random.Generator) -> Indices:
        """Return up to ``n`` uniform random allowed rows of level indices, with repetitions.

        Fewer only where constraints too wide to be solved leave next to nothing.
        """
        read_count(n, "n", most=_MOST_DRAWN)
        if self.configurations is not None:
            return self._listed_rows[rng.integers(0, len(self._listed_rows), n)]
        return allowed.draw_rows(self.constraint_graph, n, rng)

    @check_arguments()
    def sample(self, n: int, rng: np.random.Generator) -> list[Config]:
        """Return ``n`` random allowed configurations, distinct while there are enough.

        Raises:
            SpecError: Nothing is allowed, or so little that no configuration was found.
        """
        read_count(n, "n", most=_MOST_DRAWN)
        if self.count().value <= TABLE_LIMIT and (table := self.table()) is not None:
            chosen = table.indices[rng.permutation(len(table))[:n]]
        else:
            rows = self.draw(2 * n, rng)
            _, first = np.unique(rows, axis=0, return_index=True)
            chosen = rows[np.sort(first)[:n]]
        if not len(chosen):
            raise SpecError(allowed.why_empty(self.constraint_graph, self.constraints), path=("constraints",))
        return self.as_table(chosen).configs(np.resize(np.arange(len(chosen)), n))

    @check_arguments("config")
    def neighbours(self, config: Mapping[str, object]) -> list[Config]:
        """Return the allowed configurations next to an allowed one.

        They differ in one parameter; one that cannot change alone changes with the fewest others that its
        constraints ask for. In a list of configurations they are those that differ in the fewest.

        Raises:
            SpecError: ``config`` is not allowed.
        """
        start = self.as_table(np.empty((0, len(self)), np.int32)).encode(self.validate(config))
        if self.configurations is not None:
            distance = (self._listed_rows != start).sum(axis=1)
            rows = self._listed_rows[distance == distance[distance > 0].min(initial=len(self))]
        else:
            rows = allowed.neighbour_rows(self.constraint_graph, start)
        return self.as_table(rows).configs(range(len(rows)))

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the meaning: equal for spaces that differ only in order, spacing or descriptions."""
        constraints = {part.meaning for e in self.constraint_expressions for part in e.conjuncts()}
        meaning = {
            "parameters": {p.name: p.meaning() for p in self.parameters},
            "constraints": sorted(constraints),
            "configurations": None if self.configurations is None else sorted(self._listed_keys),
            "derived": {name: e.meaning for name, e in self.derived_expressions.items()},
        }
        text = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON data with the keys of a study file; :meth:`from_dict` reads it back."""
        result: dict[str, object] = {"parameters": {p.name: p.to_dict() for p in self.parameters}}
        if self.constraints:
            result["constraints"] = list(self.constraints)
        if self.derived:
            result["derived"] = dict(self.derived)
        if self.configurations is not None:
            result["configurations"] = [dict(config) for config in self.configurations]
        return result

    @classmethod
    @check_arguments("configurations")
    def from_dict(
        cls, data: Mapping[str, object], *, configurations: Sequence[Mapping[str, object]] | None = None
    ) -> Space:
        """Build from the ``parameters`` and ``constraints`` of a study file.

        Args:
            data: ``{"parameters": {name: {"type": ...}}, "constraints": [...]}``, or the parameters alone.
            configurations: Allowed configurations when they are an explicit list, such as a measured table.

        Raises:
            SpecError: Something is wrong; ``path`` leads to it.
        """
        return cls(*read_space(data, configurations))

    @classmethod
    @check_arguments("path")
    def from_yaml(cls, path: str | Path) -> Space:
        """Read the space of a study or catalogue file.

        Raises:
            SpecError: The file is wrong; the message names file, line and column.
        """
        found: Space = READERS["Space"](path)
        return found


def _check_arguments(space: Space) -> None:
    """Refuse arguments of other types than a space is made of, each by its name."""
    for key in ("parameters", "constraints"):
        found = getattr(space, key)
        entries = read_entries(found)
        if entries is None:
            hint = f"constraints=[{found!r}]" if key == "constraints" and isinstance(found, str) else ""
            raise SpecError(f"{key} must be a list, found {found!r}", path=(key,), hint=hint)
        object.__setattr__(space, key, tuple(entries))
    for i, parameter in enumerate(space.parameters):
        if not isinstance(parameter, Parameter):
            raise SpecError(
                f"parameters[{i}] must be a parameter such as Int or Categorical, found {parameter!r}",
                path=("parameters",),
                hint="Space.from_dict reads mappings",
            )
    if not isinstance(space.derived, Mapping):
        raise SpecError(
            f"derived must be a mapping of names to texts, found {space.derived!r}", path=("derived",)
        )
    listed = space.configurations
    if listed is not None:
        entries = read_entries(listed)
        if entries is None:
            raise SpecError(f"configurations must be a list, found {listed!r}", path=("configurations",))
        object.__setattr__(space, "configurations", tuple(entries))


_MOST_DRAWN = 10_000_000  # configurations, which memory holds
_NOT_VALUES = ("type", "default", "unit", "description", "prior", "when", "restart", "memory")


def _values_of(parameter: Parameter) -> str:
    """Return the values of a parameter for people: ``low=1, high=64, scale=log2`` or ``4, 8, 16``."""
    data = {key: value for key, value in parameter.to_dict().items() if key not in _NOT_VALUES}
    values = data.pop("values", None)
    listed = [", ".join(show(value) for value in values)] if isinstance(values, list | tuple) else []
    return short(", ".join([*listed, *(f"{key}={show(value)}" for key, value in data.items())]))
