"""Secrets in files: every form, every file below a folder, through no link, in bounded time."""

import base64
import json
import os
import random
import socket
import stat
import subprocess
import sys
import urllib.parse

import pytest

from autotune.core import redact_files
from autotune.core.redact import MASK, redact, redacted, visible
from autotune.core.redact_files import redact_file, redact_folder

SECRET = "canary-5ecret/value+123"
ENVIRONMENT = {"SOME_API_KEY": SECRET}


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", SECRET)


def sixty_four(text, before=0, safe=False):
    raw = b"x" * before + text.encode() + b"after"
    return (base64.urlsafe_b64encode if safe else base64.b64encode)(raw).decode()


FORMS = {
    "plain": SECRET,
    "percent": urllib.parse.quote(SECRET, safe=""),
    "percent in lower case": urllib.parse.quote(SECRET, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "percent, all of it": "".join(f"%{byte:02X}" for byte in SECRET.encode()),
    "JSON escapes": "".join(f"\\u{ord(c):04x}" for c in SECRET),
    "JSON in JSON": "".join(f"\\\\u{ord(c):04X}" for c in SECRET),
    "an escaped slash": SECRET.replace("/", "\\/"),
    "some of it escaped": "%63" + SECRET[1:5] + "\\u0079" + SECRET[6:],
    "base64": sixty_four(SECRET),
    "base64, one byte on": sixty_four(SECRET, 1),
    "base64, two bytes on": sixty_four(SECRET, 2),
    "base64 of URLs": sixty_four(SECRET, 0, safe=True),
    "base64 in lines": sixty_four(SECRET)[:9] + "\n" + sixty_four(SECRET)[9:],
    "over a line's end": SECRET[:7] + "\n" + SECRET[7:],
    "over a line's end, indented": SECRET[:7] + "\r\n    " + SECRET[7:],
    "continued": SECRET[:7] + "\\\n" + SECRET[7:],
    "a character a line": "\n".join(SECRET),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_known_secret_is_masked(form):
    hidden = redact(f"before {FORMS[form]} after", ENVIRONMENT)
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")
    assert MASK in hidden
    left = hidden.removeprefix("before ").removesuffix(" after").replace(MASK, "")
    assert len(left) <= 10, left  # ends of base64 that belong to what stands beside it


@pytest.mark.parametrize(
    "value", ["two words here", "pâss€wörd-long", "per%41cent-secret", "of\nthree\nlines"]
)
def test_secrets_of_any_characters_are_masked_plain_and_escaped(value):
    for text in (value, urllib.parse.quote(value), urllib.parse.quote_plus(value), json.dumps(value)[1:-1]):
        assert redact(f"<{text}>", {"A_TOKEN": value}) == f"<{MASK}>"


@pytest.mark.parametrize(
    "innocent",
    ["task-runner-with-a-long-name", "max_tokens=123456789", "tokens: 12345678", "bearer of news", "a://b/c@d",
     "Throughput: 12.5 tokens/s, 100%|####| 4/4", "\ud800 lone", "C:\\users\\ann"],
)  # fmt: skip
def test_what_is_no_secret_stays(innocent):
    assert redact(innocent, ENVIRONMENT) == innocent


UNSEEN = {
    "a colour": "\x1b[1;31m",
    "a colour in eight bits": "\x9b31m",
    "a movement": "\x1b[2K",
    "a title": "\x1b]0;title\x07",
    "a link": "\x1b]8;;https://x.y/z\x1b\\",
    "a character set": "\x1b(B",
    "a colour in JSON": "\\u001b[31m",
    "a colour in JSON in JSON": "\\\\u001B[31m",
    "a colour as Python writes it": "\\x1b[0m",
    "a colour as C writes it": "\\033[0m",
    "a colour as a shell writes it": "\\e[0m",
    "a colour as cat writes it": "^[[0m",
    "a colour in a URL": "%1B%5B0m",
    "a NUL": "\x00",
    "a backspace": "\x08",
    "a bell": "\x07",
    "no width": "\u200b",
    "no break": "\u2060",
    "the other direction": "\u202e",
    "a soft hyphen": "\xad",
    "a byte order mark": "\ufeff",
    "a variant": "\ufe0f",
    "a tag": "\U000e0041",
    "a mark of Mongolian": "\u180e",
    "a joiner of letters": "\u034f",
    "a filler": "\u3164",
    "an anchor of notes": "\ufff9",
    "a space that holds words together": "\xa0",
    "a separator of lines": "\u2028",
    "a separator of paragraphs": "\u2029",
    "no width as JSON writes it": "\\u200b",
    "no width as JSON in JSON writes it": "\\\\u200B",
    "a tag as JSON writes it": "\\udb40\\udc41",
    "a tag as Python writes it": "\\U000e0041",
    "a space as Python writes it": "\\xa0",
}
TOKENS = (
    SECRET,
    "hf_0123456789abcdefghij",
    "sk-0123456789abcdefgh",
    "Bearer abcdefghijkl",
    "token=abcdefghijkl",
)


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("unseen", UNSEEN)
def test_what_no_reader_sees_hides_no_secret(unseen, token):
    mark = UNSEEN[unseen]
    ways = {
        "around": f"{mark}{token}{mark} after",
        "inside": f"{token[:9]}{mark}{token[9:]} after",
        "twice": f"{token[:3]}{mark}{token[3:12]}{mark * 3}{token[12:]} after",
        "between all": f"{mark.join(token)} after",
    }
    for how, text in ways.items():
        for said in (redact(f"before {text}", ENVIRONMENT), redact(text, ENVIRONMENT)):
            shown = visible(said).replace(mark, "")
            assert token[-9:] not in shown, how
            assert MASK in said, how
            assert shown.endswith(" after"), how


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x1b[0m\n\x1b[2m  ", "\\\n   "])
@pytest.mark.parametrize("token", [SECRET, "hf_ABCDEFGHIJKLMNOPQRSTUVWX", "sk-ABCDEFGHIJKLMNOPQRSTUVWX"])
def test_a_line_that_ends_in_it_hides_no_secret(end, token):
    said = redact(f"before {token[:9]}{end}{token[9:]} after", ENVIRONMENT)
    assert said == "before [redacted] after"


def test_the_line_after_a_whole_token_stays():
    assert redact("hf_ABCDEFGHIJKLMNOPQRSTUVWX\nINFO 12", {}) == "[redacted]\nINFO 12"
    assert redact("import hf_hub\nimport transformers", {}) == "import hf_hub\nimport transformers"


def test_colours_stay_where_there_is_no_secret():
    text = "\x1b[1;36m(EngineCore pid=12)\x1b[0m INFO \x1b]0;t\x07 50 \xb5s \u200b ^[[0m %1b[1m"
    assert redact(text, ENVIRONMENT) == text


def test_a_name_that_is_a_secret_is_masked():
    assert redacted({f"x {SECRET}": {SECRET: 1}}) == {f"x {MASK}": {MASK: 1}}


def test_tokens_are_found_behind_escapes():
    token = "hf_0123456789abcdefghij"
    for before in ("x=%3D", "line\\n", "\\u0022", "task-", "(", ""):
        assert token not in redact(before + token, {})
    assert redact("task-sk-0123456789abcdefgh", {}) == f"task-{MASK}"


# -- folders -------------------------------------------------------------------------------------------


def snapshot(folder):
    return {
        str(path.relative_to(folder)): (path.lstat().st_ino, path.lstat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def test_nothing_outside_the_folder_is_written_through_any_link(tmp_path):
    home, attempt = tmp_path / "home", tmp_path / "attempt-1"
    (home / "deep").mkdir(parents=True)
    attempt.mkdir()
    for name in (".env", "notes.txt", "server.log", "deep/.env"):
        (home / name).write_text(f"KEY={SECRET}\n")
    before = snapshot(home)
    (attempt / "env.txt").symlink_to(home / ".env")
    (attempt / "server.log").symlink_to(home / "server.log")
    (attempt / "up").symlink_to(home, target_is_directory=True)
    (attempt / "around").symlink_to(attempt, target_is_directory=True)
    (attempt / "nowhere.txt").symlink_to(tmp_path / "absent")
    os.link(home / "notes.txt", attempt / "hard.txt")
    (attempt / ".own.txt.masking").symlink_to(home / "deep" / ".env")
    (attempt / "own.txt").write_text(SECRET)
    assert redact_folder(attempt, live=("server.log", "hard.txt")) == []
    assert snapshot(home) == before
    assert (attempt / "own.txt").read_text() == MASK
    assert SECRET not in (attempt / "hard.txt").read_text(), "the folder's own name of it"
    assert not redact_file(attempt / "env.txt")
    (tmp_path / "linked").symlink_to(home, target_is_directory=True)
    assert redact_folder(tmp_path / "linked") == []
    assert snapshot(home) == before


def test_every_file_below_is_masked_whatever_its_name(tmp_path):
    names = (
        "a.log",
        "b.out",
        "c",
        ".hidden",
        "d.yaml",
        "deep/er/e.csv",
        "deep/f.json",
        "two words.err",
        "é.txt",
    )
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"said": SECRET}) if name.endswith("json") else f"x {SECRET} y\n")
        path.chmod(0o640)
    os.mkfifo(tmp_path / "pipe.log")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.log"))
        assert redact_folder(tmp_path) == []
    for name in names:
        assert SECRET not in (tmp_path / name).read_text()
        assert MASK in (tmp_path / name).read_text()
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640
    assert json.loads((tmp_path / "deep/f.json").read_text()) == {"said": MASK}
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".masking")]


def test_what_a_killed_masker_left_is_removed_and_what_only_has_such_a_name_is_masked(tmp_path):
    """A masker is killed in the middle of its draft, another is at work."""
    (tmp_path / "server.log").write_text(f"x {SECRET}\n" * 1000)
    code = (
        "import os, sys; from autotune.core import redact_files\n"
        "def parts(*_, **__):\n"
        "    def give():\n"
        "        yield b'half of it', True\n"
        "        print('at work', flush=True); sys.stdin.read(); yield b'!', True\n"
        "    return give\n"
        "redact_files._parts = parts; redact_files.any = lambda _: True\n"
        "redact_files.redact_folder(sys.argv[1])\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "at work\n"
        (draft,) = tmp_path.glob(".server.log.*.masking")
        redact_folder(tmp_path)
        assert draft.exists(), "its maker lives, and will rename it"
        other.kill()
    others = {"notes.masking": f"my {SECRET}", "x.masking": "mine", ".y.masking": SECRET}
    for name, text in others.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".a.log.1-2.masking").write_text(SECRET)
    assert redact_folder(tmp_path) == []
    left = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*masking")}
    assert left == {"notes.masking": f"my {MASK}", "x.masking": "mine", ".y.masking": MASK}
    assert SECRET not in (tmp_path / "server.log").read_text()


def test_what_is_no_text_keeps_its_length_and_its_chance_likenesses(tmp_path):
    path = tmp_path / "weights.bin"
    body = b"\0\1\2" + SECRET.encode() + b"\0token=abcdefgh\0sk-0123456789abcdefghijk\0"
    path.write_bytes(body)
    assert redact_folder(tmp_path) == []
    assert path.read_bytes() == body.replace(SECRET.encode(), MASK.encode().ljust(len(SECRET), b"*"))


@pytest.mark.parametrize("noise", [b"\0", b"\xff\xfe", b"\0\xc3\0\0", b"\xed\xa0\x80\0"])
@pytest.mark.parametrize(
    "name", ["server.log", "worker.log", "stdout-1.txt", "command.txt", "metrics-1.json", "requests.jsonl"]
)
def test_a_log_is_text_whatever_bytes_a_program_printed(tmp_path, name, noise):
    path = tmp_path / name
    path.write_bytes(noise + b" one " + noise + b"\ntoken=abcdefgh " + SECRET.encode() + b"\n" + noise)
    assert redact_folder(tmp_path) == []
    mask = MASK.encode()
    assert path.read_bytes() == (noise + b" one " + noise + b"\ntoken=" + mask + b" " + mask + b"\n" + noise)


def test_whoever_appends_goes_on_behind_the_new_end(tmp_path):
    path = tmp_path / "server.log"
    with path.open("a") as writer:
        writer.write(f"one {SECRET}\n")
        writer.flush()
        redact_folder(tmp_path, live=("server.log",))
        writer.write("two\n")
    assert path.read_text() == f"one {MASK}\ntwo\n"


@pytest.mark.parametrize("seed", range(4))
def test_blocks_of_any_size_give_what_the_whole_gives(tmp_path, monkeypatch, seed):
    """Secrets across the ends of blocks, and some that are longer than several."""
    rng = random.Random(seed)
    pieces = [SECRET, f"token={'a' * 500}", "api_key='abcdefgh'", "hf_" + "b" * 40, "plain words ", "\n",
              "x" * 30, "://ann:planted-pass@host ", "Bearer abcdefghijkl",
              f"{SECRET[:5]}\x1b[31m{SECRET[5:]}", "hf_\x1b[1m" + "b" * 30, "\x1b[0m",
              *list(FORMS.values())[:8]]  # fmt: skip
    text = "".join(rng.choice(pieces) + rng.choice(["  ", " ", "\n"]) for _ in range(400))
    monkeypatch.setattr(redact_files, "_BLOCK", rng.choice([300, 700, 2_000]))
    monkeypatch.setattr(redact_files, "_KEPT", 200)
    path = tmp_path / "server.log"
    path.write_text(text)
    assert redact_file(path)
    found = path.read_text()
    for part in (SECRET, "aaaaaaa", "abcdefgh", "bbbbbbbb", "planted-pass"):
        assert part not in found
    assert found.count("plain words ") == text.count("plain words ")


def test_what_takes_too_long_is_left_out_and_says_so(tmp_path):
    (tmp_path / "a.log").write_text(f"{SECRET}\n")
    (tmp_path / "b.bin").write_bytes(b"\0" + SECRET.encode())
    assert redact_folder(tmp_path, deadline_s=-1.0) == ["b.bin"]
    assert SECRET not in (tmp_path / "a.log").read_text()
    assert "not searched for secrets in time: left out" in (tmp_path / "a.log").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--set system.env.API_KEY=abcdef12: this is a secret", f"API_KEY={MASK}: this is a secret"),
        ("on.end=https://host/?token=abcdef12: url of a hook", f"token={MASK}: url of a hook"),
        ("password=abcd:ef12: no", f"password={MASK}: no"),
        ("token=abcdef12", f"token={MASK}"),
    ],
)
def test_the_colon_behind_a_secret_belongs_to_the_sentence(text, said):
    assert redact(text, {}).endswith(said)
    assert redact(redact(text, {}), {}) == redact(text, {})


@pytest.mark.parametrize("option", ["--password", "-password", "--hf-token", "--api-key", "--db_passwd"])
def test_what_follows_an_option_for_a_secret_inside_a_text_is_masked(option):
    assert redact(f"['sh', '-c', 'serve {option} hunter3secret --port 80']", {}) == (
        f"['sh', '-c', 'serve {option} {MASK} --port 80']"
    )
    for plain in (f"{option} requires a value", f"{option} --port 80808080", "max-tokens 123456789"):
        assert redact(plain, {}) == plain
