"""The conventions of docstrings: a noun phrase for what a thing is, and references that lead somewhere."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "autotune").rglob("*.py"))
}


def words(text):
    return frozenset(text.split())


VERBS = words("""
accept add adjust admit allow append apply arrange ask assert assign avoid become begin bind bring build
calculate call carry catch choose clean collect combine compare complete compute configure connect consider
contain convert create decide define delete deliver depend derive describe detect determine discard divide
do draw enable encode enqueue ensure evaluate examine execute expect explain expose extend extract fetch
fill find follow forget generate get give go handle have help hide hold ignore implement include infer
insert install instantiate introduce invoke is join keep know learn leave let listen locate look make manage
maximize may merge minimize modify move multiply narrow obtain open optimize parse perform permit pick
predict prepare present preserve prevent print produce propose protect prove provide put raise read receive
recognize redact refuse register reject remember remove render repair repeat represent require reset resolve
retrieve say see select send separate serialize serve should simulate skip solve sort specify speak split
stand submit supply take talk tell think throw train translate travel treat try understand unpack update use
validate verify visit wait wake want warn weigh will wrap write yield
""")
"""Verbs that begin a sentence and are hardly ever the noun that begins one."""

ALSO_NOUNS = words("""
answer bound change check close commit control count end fit guard hand head import lack launch lead limit
list load map mark mask measure mirror model name need note notice number order pass place plan process
query record release replay report request rest restore return round rule run sample schedule score search
set share show size snapshot start state steer step stop store support test time track transform turn value
walk watch work
""")
"""Verbs that are nouns as well: what follows tells which."""

FRAGMENTS = words("""
above according after against alive also among around as at because before behind below beneath beside
besides between beyond but by during except for from how if in inside into it just like near nor not of off
on once only or out outside over per since so such than that then there they this though through till to
together too toward under unless until up upon what when whenever where wherever which while who whoever
whom whose why with within without
""")

LINKS = words("""
after and are as at before behind between by for from if in into is of on once or over per so than that to
under until when where which while who with without
""")
"""Words that follow a noun, not an imperative; an adjective before one of them lacks its noun."""

OBJECTS = words("a all an any another each every it its our the their them this those what whether")
"""Words that follow a verb, not a noun."""

ADJECTIVES = words(
    "absolute empty given kept known left made negative positive ready relative sent told unique"
)


def third_person(verb):
    if re.search("(s|x|z|ch|sh|o)$", verb):
        return verb + "es"
    return re.sub("(?<![aeiou])y$", "ie", verb) + "s"


ACTIONS = {*VERBS, *map(third_person, VERBS), "has"}
RUN_LIKE = words("commit mirror return run show start")  # mostly verbs, whatever noun follows


def is_noun_phrase(text, compounds=True):
    """Whether a text begins as a noun phrase does, as far as its first two words tell.

    "Count failures" is a verb and its object, "Search space" a compound: where those may come, both pass.
    """
    first, following = [*text.split(), "", ""][:2]
    if not first or first.startswith(("`", "(", ":")):
        return bool(first)
    word, following = first.strip(".,;:()").lower(), following.strip(".,;:()").lower()
    alone = first[-1] in ".,;:" or not following
    if word in ACTIONS or word in FRAGMENTS:
        return False
    if word in ALSO_NOUNS:
        return alone or following in LINKS or (compounds and not (word in RUN_LIKE or following in OBJECTS))
    if word in map(third_person, ALSO_NOUNS):
        return alone or following not in OBJECTS
    participle = word.endswith("ed") and word not in {"need", "seed", "speed"}
    return not ((participle or word in ADJECTIVES) and (alone or following in LINKS))


@cache
def tree_of(module):
    return ast.parse(MODULES[module].read_text())


def documented():
    """Yield the place and the node of everything that can have a docstring, with that."""
    for module, path in MODULES.items():
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield (
                    f"{path.relative_to(ROOT)}:{node.lineno} {node.name}",
                    node,
                    ast.get_docstring(node) or "",
                )


@pytest.mark.parametrize(
    "text",
    [
        "Describe one flag.",
        "Describes one flag.",
        "Count the requests.",
        "Runs the scorer.",
        "Show progress.",
        "What was found.",
        "Whose fault it is.",
        "Such as 0.99.",
        "Per phase.",
        "Answered.",
        "Told of each trial.",
        "Looked at while it runs.",
        "Why.",
        "It.",
        "Alive, and not in quarantine.",
        "At least one.",
        "",
    ],
)
def test_a_verb_or_a_fragment_is_no_noun_phrase(text):
    assert not is_noun_phrase(text)


@pytest.mark.parametrize(
    "text",
    [
        "A bound on a measured metric.",
        "Search space.",
        "Limits of the objective.",
        "Measured values, shape ``n``.",
        "Count of failures.",
        "Time budget in seconds.",
        "Name.",
        "Seed of the requests.",
        "``cpu`` or ``cuda``.",
        "Whether to show progress.",
    ],
)
def test_a_noun_phrase_is_taken_for_one(text):
    assert is_noun_phrase(text)


def test_a_class_is_introduced_by_a_noun_phrase():
    faults = [
        f"{place}: {text.partition(chr(10))[0]}"
        for place, node, text in documented()
        if isinstance(node, ast.ClassDef)
        and (not is_noun_phrase(text, compounds=False) or text.startswith("Whether"))
    ]
    assert faults == []


def test_an_argument_is_introduced_by_a_noun():
    entries = []
    for place, _, text in documented():
        for section in re.findall(r"^(?:Args|Attributes):\n((?: .*\n?|\n)+)", text, re.MULTILINE):
            found = re.findall(r"^    (\S+: .*)", section, re.MULTILINE)
            entries.extend((place, entry) for entry in found)
    assert len(entries) > 1000
    assert [entry for entry in entries if not is_noun_phrase(entry[1].partition(": ")[2])] == []


@cache
def names_of(module):
    """Return what a module defines or imports, by name."""
    found = {}
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.setdefault(node.name, node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.setdefault(node.id, node)
    return found


def is_member(module, name, member):
    """Whether a class that a module defines or imports has a member, of its own or inherited."""
    node = names_of(module).get(name)
    if isinstance(node, ast.ImportFrom):
        return node.module in MODULES and is_member(node.module, name, member)
    if not isinstance(node, ast.ClassDef):
        return False
    bound = {
        found.attr if isinstance(found, ast.Attribute) else getattr(found, "id", getattr(found, "name", ""))
        for found in ast.walk(node)
        if not isinstance(found, ast.Attribute | ast.Name) or isinstance(found.ctx, ast.Store)
    }
    bases = [ast.unparse(base).partition("[")[0] for base in node.bases]
    return member in bound or any(is_member(module, base, member) for base in bases)


@cache
def foreign_packages(module):
    """Return the packages that a module imports, ours apart; what is in them is not looked up."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.partition(".")[0])
    return found - {"autotune"}


def leads_somewhere(target, module):
    """Whether a reference in a docstring of a module names a module of ours or something in one."""
    if target.startswith("."):
        package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
        return leads_somewhere(f"{package}{target}", module)
    parts = target.split(".")
    if parts[0] == "autotune":
        if target in MODULES or target in constants_of(module):  # the second: a group of entry points
            return True
        known = next((i for i in range(len(parts) - 1, 0, -1) if ".".join(parts[:i]) in MODULES), 0)
        home, rest = ".".join(parts[:known]), parts[known:]
        if home in {"autotune", "autotune.experimental"} and len(rest) == 1:
            return rest[0] in constants_of(home)
    elif len(parts) > 1 and parts[0] in foreign_packages(module):
        return True
    else:
        home, rest = module, parts
        if len(rest) == 1 and any(is_member(module, name, target) for name in names_of(module)):
            return True
    if len(rest) == 1:
        return rest[0] in names_of(home)
    return len(rest) == 2 and is_member(home, *rest)


@cache
def constants_of(module):
    return {node.value for node in ast.walk(tree_of(module)) if isinstance(node, ast.Constant)}


def references():
    for module, path in MODULES.items():
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):
                text = node.value.value
                marked = re.findall(r":(?:mod|class|func|meth|attr|data|exc):`~?([^`]+)`", text)
                for target in marked + re.findall(r"``(autotune(?:\.\w+)+)(?<!\.py)``", text):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", module, target


def test_references_of_docstrings_lead_somewhere():
    found = list(references())
    assert len(found) > 300
    dead = [f"{place} {target}" for place, module, target in found if not leads_somewhere(target, module)]
    assert dead == []


@pytest.mark.parametrize(
    "target",
    [
        ".sse",
        ".sse.EventReader",
        "Refused",
        "autotune.core.space.Space.sample",
        "autotune.Space",
        "completion",
    ],
)
def test_a_reference_to_what_is_there_is_followed(target):
    assert leads_somewhere(target, "autotune.measure.load.ask")


@pytest.mark.parametrize(
    "target",
    [
        ".gone",
        ".sse.Gone",
        "Gone",
        "autotune.core.gone",
        "autotune.core.space.Space.gone",
        "autotune.Gone",
        "Answer.no",
    ],
)
def test_a_reference_to_what_is_gone_is_noticed(target):
    assert not leads_somewhere(target, "autotune.measure.load.ask")
