"""Functions that are named: what the source is sure of is refused, nothing of it is run."""

import os
import re
import sys

import pytest

from autotune.core.named_code import CALL, refuse_absent
from autotune.errors import SpecError

CODE = """
import os.path, json as text
from math import floor
raise SystemExit("a stranger's file has run")

LIMIT = 3
named: dict = {}
later = None
made = lambda event: None
(pair, of) = made, made

def told(event):
    global set_later
    set_later = floor
    def inner(): pass

async def waits(event): pass

class Teller:
    def __call__(self, event): pass
    def method(self, event): pass

try:
    from nowhere import maybe
except ImportError:
    later = told
if LIMIT > 2:
    def conditional(event): pass
for loop in []: pass
"""


@pytest.fixture
def folder(tmp_path):
    texts = {
        "tell.py": CODE,
        "star.py": "from math import *\n",
        "computed.py": "globals()['x'] = print\n",
        "lazy.py": "def __getattr__(name): return print\n",
        "broken.py": "def f(:\n",
        "pkg/__init__.py": "",
        "pkg/sub.py": "def f(event): pass\n",
        "pkg/inner/__init__.py": "",
        "pkg/inner/deep.py": "def f(event): pass\n",
        "loose/a/b.py": "def f(event): pass\n",
        "given.py": "from lazy import __getattr__\n",
        "reached.py": "from sys import modules as m\nm[__name__].f = print\n",
        "patched/__init__.py": "from . import sub\nsub.f = print\n",
        "patched/sub.py": "f = 1\n",
        "reaching/__init__.py": "from . import sub\nsetattr(sub, 'f', print)\n",
        "reaching/sub.py": "",
        "myself.py": "import myself\nmyself.f = print\n",
        "me.py": "import importlib\nimportlib.import_module(__name__).f = print\n",
        "bare.py": "f: int\ng: int\ng = print\ndef h(x: int): pass\n",
        "gone.py": "def f(event): pass\ndel f\ndef g(event): pass\ndel g\ndef g(event): pass\n",
        "back.py": "def f(event): pass\ndef s():\n    global f\n    f = print\ndel f\ns()\n",
        "loose/deep.py": "def f(event): pass\n",
        "moving/__init__.py": "__path__ = []\n",
        "latin.py": "# coding: latin-1\ndef f(event): '\\d\xe9'\n",
        "names": "",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="latin-1")
    (tmp_path / "letters.py").write_text("def fé(event): pass\ndef 変更(event): pass\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "target",
    [
        *(f"tell.py:{name}" for name in ("told", "Teller", "conditional", "made", "maybe", "later")),
        *(f"tell.py:{name}" for name in ("floor", "set_later", "pair", "loop", "Teller.method", "os.path")),
        "tell:told", "star.py:anything", "computed:anything", "lazy:anything", "pkg.sub:f", "pkg:sub.f",
        "loose.a.b:f", "loose.a.absent:f", "pkg.inner.deep:f", "given:anything", "reached.py:f",
        "patched.sub:f", "reaching.sub:f", "myself:f", "me:f", "letters.py:fé", "letters:変更", "bare.py:g",
        "gone.py:g", "back.py:f",
        "loose.deep:f", "moving.anywhere:f", "latin.py:f", "json:loads", "os.path:join", "zlib:compress",
    ],
)  # fmt: skip
def test_what_may_be_there_is_taken(folder, target):
    refuse_absent(target, folder)
    assert "tell" not in sys.modules


@pytest.mark.parametrize(
    ("target", "said", "hint"),
    [
        ("tell.py:tolld", "has no function 'tolld'", "did you mean 'told'?"),
        ("tell:inner", "has no function 'inner'", "allowed: told, waits, Teller"),
        ("tell.py:event", "has no function 'event'", "allowed: "),
        ("tell.py:LIMIT", "'LIMIT' is no function: it is 3", "allowed: "),
        ("tell.py:named", "'named' is no function: it is {}", "allowed: "),
        ("tell.py:waits", "'waits' is async, and a function must run to its end", "asyncio.run"),
        ("tel.py:told", "/tel.py'", "did you mean 'tell.py'?"),
        ("tel:told", "no module 'tel' in ", "did you mean 'tell'?"),
        ("names.sh:f", "no module 'names' of 'names.sh' in ", "allowed: module:function or file.py:function"),
        ("broken.py:f", "broken.py:1: no valid Python: ", ""),
        ("pkg.sbu:f", "no module 'pkg.sbu' in ", "did you mean 'pkg.sub'?"),
        ("pkg:sub", "has no function 'sub'", "it has none"),
        ("tell.deep:f", "no module 'tell.deep' in 'tell', which is no package", "allowed: "),
        ("pkg.inner.dep:f", "no module 'pkg.inner.dep' in ", "did you mean 'pkg.inner.deep'?"),
        ("patched.sub:g", "has no function 'g'", ""),
        ("bare.py:f", "has no function 'f'", "allowed: h"),
        ("gone.py:f", "has no function 'f'", ""),
        ("letters.py:fè", "has no function 'fè'", "allowed: fé, 変更"),
        ("letters.py:f→", "'f→' is no name of a function", "allowed: "),
        ("tell.py:told.", "'told.' is no name of a function", "allowed: "),
        ("a..b:f", "no module 'a' of 'a..b' in ", "allowed: "),
        ("json:laods", "has no function 'laods'", "did you mean 'loads'?"),
    ],
)
def test_what_cannot_be_there_is_refused_with_the_nearest_name(folder, target, said, hint):
    with pytest.raises(SpecError) as refused:
        refuse_absent(target, folder)
    assert said in refused.value.message
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "def give(name):\n    return lambda one: one.__globals__.update({name: one})\n"
        "@give('f' * 1)\ndef g(): pass\n",
        "import sys\nfor name in 'fg':\n    sys._getframe().f_globals[name] = print\n",
        "import inspect\ninspect.currentframe().f_locals.update(f=print)\n",
        "import importlib\nimportlib.import_module(__name__).__setattr__('f', print)\n",
        "import importlib\nobject.__setattr__(importlib.import_module(__name__), 'f', print)\n",
        "import importlib, types\nclass M(types.ModuleType):\n    f = print\n"
        "importlib.import_module(__name__).__class__ = M\n",
        "from tools import export\n@export('f')\ndef g(): pass\n",
        "f = None\nimport whoever_gives_it\n",
    ],
)
def test_a_name_that_the_source_may_give_in_another_way_is_taken(folder, text):
    (folder / "given_otherwise.py").write_text(text)
    refuse_absent("given_otherwise.py:f", folder)
    (folder / "given_otherwise.py").write_text("f = 1\n")
    with pytest.raises(SpecError, match="'f' is no function: it is 1"):
        refuse_absent("given_otherwise.py:f", folder)


@pytest.mark.parametrize("name", ["f", "os"])
def test_an_imported_module_is_no_function(folder, name):
    (folder / "modules.py").write_text("import math as f\nimport json, os.path\n")
    with pytest.raises(SpecError, match=f"'{name}' is no function: it is import .*{name}"):
        refuse_absent(f"modules.py:{name}", folder)
    refuse_absent("modules.py:os.path.join", folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(config):\n    pass\nif f:\n    return 1\n", ":4: no valid Python: 'return' outside function"),
        ("class C:\n    x = yield\n", ":2: no valid Python: 'yield' outside function"),
        ("await f()\n", ":1: no valid Python: 'await' outside function"),
    ],
)
def test_what_only_a_function_may_say_is_no_python_outside_of_one(folder, text, said):
    (folder / "outside.py").write_text(text)
    with pytest.raises(SpecError, match=said):
        refuse_absent("outside.py:f", folder)


@pytest.mark.parametrize(
    "text",
    [
        "def g():\n    await x\n",
        "break\n",
        "g(a=1, a=2)\n",
        "def g():\n    return [x async for x in y]\n",
        "x = 1\nfrom __future__ import annotations\n",
        "try: pass\nexcept: pass\nexcept ValueError: pass\n",
        "match 1:\n    case x: pass\n    case y: pass\n",
        "def g(x=(yield)): pass\n",
        "async def g():\n    yield 1\n    return 3\n",
        "*a, *b = 1\n",
        "__debug__ = 1\n",
        "\0",
        "# coding: nothing\n",
        "x = '\xe9'\n",
    ],
)
def test_what_an_import_would_refuse_is_no_python(folder, text, recwarn):
    file = folder / "refused.py"
    file.write_text(text + "def f(config): return '\\d'\n", encoding="latin-1")
    with pytest.raises(SpecError, match=r"refused\.py:\d+: no valid Python: .") as refused:
        refuse_absent("refused.py:f", folder)
    assert "\n" not in refused.value.message
    assert not recwarn


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(): pass\n", r":1: 'f' is called with one argument, and takes \(\)"),
        ("def f(a, b, c=1): pass\n", r":1: .* takes \(a, b, c=1\)"),
        ("def f(a, *, key): pass\n", r":1: .* takes \(a, \*, key\)"),
        ("\nf = lambda: 1\n", r":2: .* takes \(\)"),
        ("class f:\n    def __call__(self, config): pass\n", "is a class that takes none"),
        (
            "def f(a):\n    for x in a:\n        yield x\n",
            ":1: 'f' is a generator, which nobody runs: it has a `yield`",
        ),
        ("async def f(a):\n    yield a\n", "'f' is a generator"),
    ],
)
def test_what_cannot_be_called_with_one_argument_or_gives_no_result_is_refused(folder, text, said):
    (folder / "called.py").write_text(text)
    with pytest.raises(SpecError, match=said):
        refuse_absent("called.py:f", folder, awaited=True, called=True)
    refuse_absent("called.py:f", folder, awaited=True)  # what else it may be called with is not known


@pytest.mark.parametrize(
    "text",
    [
        "def f(a, b=1, *more, key=2, **rest): pass\n",
        "def f(*all): pass\n",
        "def f(a, /): pass\n",
        "from tools import filled\n@filled\ndef f(a, b): pass\n",
        "from tools import fill\ndef f(a, b): pass\nfill(f)\n",
        "def f(a, b): pass\nf.__defaults__ = (1,)\n",
        "def f(a, b): pass\nf = f\n",
        "from tools import Base\nclass f(Base): pass\n",
        "from tools import Meta\nclass f(metaclass=Meta): pass\n",
        "class f:\n    def __init__(self, config): pass\n",
        "class f: pass\nf.__init__ = lambda self, config: None\n",
        "def f(a):\n    def inner():\n        yield a\n    return list(inner())\n",
        "def f(a):\n    return (lambda: (yield a))\n",
        "if True:\n    def f(): pass\n",
        "def f(a): return f(a) if a else 1\n",
    ],
)
def test_what_may_take_one_argument_is_taken(folder, text):
    (folder / "called.py").write_text(text)
    refuse_absent("called.py:f", folder, called=True)


@pytest.mark.parametrize(
    "text",
    ["f = -1\n", "f = 1 + 2\n", "f = 'a' * 3\n", "f = [g for g in 'ab']\n", "f = " + "1 + " * 900 + "1\n"],
)
def test_a_computed_number_text_or_list_is_no_function(folder, text):
    (folder / "plain.py").write_text(text)
    with pytest.raises(SpecError, match=r"plain\.py:1: 'f' is no function"):
        refuse_absent("plain.py:f", folder)


@pytest.mark.parametrize(
    "text",
    [
        "class f:\n    x = 1\n    @staticmethod\n    def other(config): pass\n",
        "def f(config): pass\n",
    ],
)
def test_an_attribute_that_a_plain_class_or_function_does_not_have_is_refused(folder, text):
    (folder / "attributes.py").write_text(text)
    with pytest.raises(SpecError, match=r"attributes\.py has no function 'f\.nope'"):
        refuse_absent("attributes.py:f.nope", folder)


@pytest.mark.parametrize(
    "text",
    [
        "class f:\n    def nope(config): pass\n",
        "from tools import Base\nclass f(Base): pass\n",
        "class M(type):\n    def __getattr__(self, name): return print\nclass f(metaclass=M): pass\n",
        "from tools import given\n@given\nclass f: pass\n",
        "from tools import Given\nclass f:\n    x = Given()\n",
        "from tools import give\nclass f: pass\ngive(f)\n",
        "class f: pass\nf.nope = print\n",
        "class f:\n    import json as nope\n",
        "class f:\n    if True:\n        def nope(config): pass\n",
        "def f(config): pass\nf.nope = f\n",
        "class f: pass\nsetattr(f, 'no' + 'pe', print)\n",
    ],
)
def test_an_attribute_that_may_be_given_in_another_way_is_taken(folder, text):
    (folder / "attributes.py").write_text(text)
    refuse_absent("attributes.py:f.nope", folder)
    refuse_absent("attributes.py:f.mro", folder) if text.startswith("class f:") else None


def test_what_a_function_says_is_python_inside_of_one(folder):
    (folder / "inside.py").write_text("g = lambda: (yield)\nasync def f():\n    await g()\n    return 1\n")
    refuse_absent("inside.py:f", folder, awaited=True)


@pytest.mark.parametrize("target", ["absent:f", "broken.py:f", "json:laods", "absent.deep:f"])
def test_of_another_machine_only_what_travels_is_known(folder, target):
    refuse_absent(target, folder, here=False)
    for wrong in ("tell:tolld", "tel.py:told"):
        with pytest.raises(SpecError):
            refuse_absent(wrong, folder, here=False)


def test_whoever_awaits_may_be_given_an_async_function(folder):
    refuse_absent("tell.py:waits", folder, awaited=True)


@pytest.mark.parametrize("text", ["x = " + "-" * 100_000 + "1", "x = 1\n" * 100_000])
def test_a_file_that_takes_long_to_read_is_taken_for_what_it_is_named_as(folder, text):
    (folder / "large.py").write_text(text)
    refuse_absent("large.py:f", folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pipe", "is no regular file"),
        ("device", "is no regular file"),
        ("round", "is a link that leads to no file"),
        ("empty", "is a link that leads to no file"),
        ("dir", "is no regular file"),
    ],
)
def test_what_lies_there_and_is_no_regular_file_is_told(folder, name, said):
    os.mkfifo(folder / "pipe.py")
    (folder / "device.py").symlink_to("/dev/zero")
    (folder / "round.py").symlink_to("round.py")
    (folder / "empty.py").symlink_to("nowhere")
    (folder / "dir.py").mkdir()
    with pytest.raises(SpecError, match=said) as refused:
        refuse_absent(f"{name}.py:f", folder)
    assert "did you mean" not in refused.value.hint
    if name != "dir":
        with pytest.raises(SpecError, match=f"no module '{name}'") as refused:
            refuse_absent(f"{name}:f", folder)
        assert f"'{name}'" not in refused.value.hint


def test_a_list_of_lists_of_lists_is_no_function(folder):
    (folder / "nested.py").write_text("f = [" + "1 + " * 1500 + "1]\n")
    with pytest.raises(SpecError, match="'f' is no function"):
        refuse_absent("nested.py:f", folder)


@pytest.mark.parametrize("pattern", ["m.py:fé", "m:変更", "m.py:f.g", "a/b.py:_f"])
def test_a_function_may_be_named_in_the_letters_of_any_language(pattern):
    assert re.fullmatch(CALL, pattern, re.ASCII)
    assert not re.fullmatch(CALL, pattern + "-x", re.ASCII)
    assert not re.fullmatch(CALL, pattern.replace(":", ":1"), re.ASCII)
