"""The conventions of docstrings: a noun phrase for what a thing is, and references that lead somewhere."""

import ast
import re
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


def documented():
    """Yield the place and the node of everything that can have a docstring, with that."""
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text())):
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
        section = re.search(r"^Args:\n((?: .*\n?|\n)+)", text, re.MULTILINE)
        found = re.findall(r"^    (\S+: .*)", section[1] if section else "", re.MULTILINE)
        entries.extend((place, entry) for entry in found)
    assert len(entries) > 1000
    assert [entry for entry in entries if not is_noun_phrase(entry[1].partition(": ")[2])] == []
