"""How servers in the field want to be asked, and what only the study's owner can mend."""

import datetime as dt
import importlib.util
import json
import socket
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from autotune.core.file_names import LAUNCH_NAME
from autotune.core.measurement import Cause
from autotune.measure.load.body import fields
from autotune.systems.base import AttemptFailed, NotReady
from autotune.systems.registry import build_system
from autotune.systems.served import negotiation

FIELD = Path(__file__).resolve().parents[2] / "toy" / "field_server.py"
SPEC = importlib.util.spec_from_file_location("field_server", FIELD)
field_server = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(field_server)


@pytest.fixture
def server():
    with field_server.serving() as found:
        yield found


def connected(folder, url, config=None, **section):
    system = build_system({"use": "openai_server", "url": url, **section})
    system.command(config or {}, folder)
    return system.connect(folder, time.monotonic() + 60)


def refused(folder, url, config=None, **section):
    with pytest.raises(AttemptFailed) as caught:
        connected(folder, url, config, **section)
    return caught.value.failure


@pytest.mark.parametrize(
    ("manners", "section", "said"),
    [
        ("auth", {}, "/auth/v1/models: HTTP 401: Invalid API key; `key_variable: NAME`"),
        ("authpost", {}, "refuses requests at /v1/completions: HTTP 401: Invalid API key"),
        ("nowhere", {}, "/nowhere/v1/models: HTTP 404: Not Found"),
        (
            "x/v1",
            {},
            "/x/v1/v1/models: HTTP 404: Not Found; the url ends with /v1 and the path begins with it",
        ),
        ("nomodels", {}, "HTTP 404: Not Found; where a server lists no models, `model` names the one to ask"),
        ("x", {"ready": "/alive"}, "/alive: HTTP 404: Not Found; `ready` names a path that answers 200"),
        ("x", {"path": "/v1/chat"}, "refuses requests at /v1/chat: HTTP 404"),
        ("nowhere", {"model": "m"}, "refuses requests at /v1/completions and /v1/chat/completions: HTTP 404"),
        ("strict", {"body": {"top": 1}}, "does not know the field 'top': HTTP 400: Unrecognized request arg"),
        ("strict", {"body": {"ignore_eos": True}}, "does not know the field 'ignore_eos': HTTP 400"),
        (
            "silent",
            {"body": {"top": 1}},
            "HTTP 422: the request is invalid; it is refused without the config",
        ),
    ],
)
def test_what_the_owner_must_mend_is_said_at_once_in_the_servers_words(
    server, tmp_path, manners, section, said
):
    failure = refused(tmp_path, server.url(manners), {"temperature": 0.5}, **section)
    assert failure.cause is Cause.OWNER_MISTAKE
    assert said in failure.message


def test_a_parameter_that_the_server_does_not_know_is_the_owners_and_a_value_is_not(server, tmp_path):
    failure = refused(tmp_path, server.url("strict"), {"draft": 3})
    assert (failure.cause, "the field 'draft'" in failure.message) == (Cause.OWNER_MISTAKE, True)
    failure = refused(tmp_path, server.url("strict"), {"temperature": 9.0})
    assert failure.cause is Cause.REJECTED_FLAGS
    assert "temperature must be at most 2" in failure.message


def test_nothing_that_listens_is_a_mistake_only_where_nothing_was_launched(tmp_path):
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        failure = refused(tmp_path, url)
        assert failure.cause is Cause.OWNER_MISTAKE
        assert f"{url}/v1/models: ConnectionRefusedError: [Errno 111] Connection refused" == failure.message
        launch = json.loads((tmp_path / LAUNCH_NAME).read_text())
        (tmp_path / LAUNCH_NAME).write_text(json.dumps({**launch, "ours": True}))
        system = build_system({"use": "openai_server", "url": url})
        with pytest.raises(NotReady, match="Connection refused"):
            system.connect(tmp_path, time.monotonic() + 60)


def launched(tmp_path, url, **section):
    """Connect as to a server that was launched."""
    system = build_system({"use": "openai_server", "url": url, **section})
    system.command({}, tmp_path)
    launch = json.loads((tmp_path / LAUNCH_NAME).read_text())
    (tmp_path / LAUNCH_NAME).write_text(json.dumps({**launch, "ours": True}))
    return system.connect(tmp_path, time.monotonic() + 60)


def test_a_launched_server_is_waited_for_unless_waiting_does_not_help(server, tmp_path):
    for manners in ("nowhere", "loading", "busyforever"):
        with pytest.raises(NotReady, match=r"HTTP (404: Not Found|503: Loading model)"):
            launched(tmp_path, server.url(manners))
    for manners, section in (("auth", {}), ("x", {"ready": "/alive"}), ("nomodels", {})):
        with pytest.raises(AttemptFailed) as caught:
            launched(tmp_path, server.url(manners), **section)
        assert caught.value.failure.cause is Cause.OWNER_MISTAKE


@pytest.mark.parametrize(
    ("manners", "chat", "changed"),
    [
        ("x", False, {}),
        ("onlychat", True, {}),
        ("strict", False, {"ignore_eos": None}),
        ("silent", False, {"ignore_eos": None}),
        ("nomaxtok", False, {"max_tokens": None, "max_completion_tokens": 16}),
        ("notemperature", False, {"temperature": None}),
        ("onlychat-nomaxtok-notemperature", True,
         {"max_tokens": None, "max_completion_tokens": 16, "temperature": None}),
    ],
)  # fmt: skip
def test_what_a_server_takes_is_found_out_and_noted(server, tmp_path, manners, chat, changed):
    driver = connected(tmp_path, server.url(manners))
    endpoint, facts = driver.endpoint(), driver.facts()
    assert endpoint.is_chat is chat
    body = fields(endpoint, [("user", "a")], "a", 16, None)
    plain = {"max_tokens": 16, "temperature": 0.0, "ignore_eos": True}
    assert {name: body.get(name) for name in (*plain, "max_completion_tokens")} == {
        **plain, "max_completion_tokens": None, **changed,
    }  # fmt: skip
    assert facts["path"] == endpoint.path
    assert bool(facts.get("request_changes")) is (manners != "x")
    last = server.asked[-1][1]
    assert all((last.get(name) is not None) is (body.get(name) is not None) for name in plain)


def test_the_same_is_found_out_for_another_configuration_of_a_running_server(server, tmp_path):
    system = build_system({"use": "openai_server", "url": server.url("onlychat-nomaxtok")})
    system.command({"temperature": 0.0}, tmp_path)
    first = system.connect(tmp_path, time.monotonic() + 60)
    second = system.reconnect({"temperature": 0.5}, first, time.monotonic() + 60)
    assert second.endpoint().path == first.endpoint().path == "/v1/chat/completions"
    assert second.endpoint().body == {**first.endpoint().body, "temperature": 0.5}
    with pytest.raises(AttemptFailed) as caught:
        system.reconnect({"temperature": 9.0}, first, time.monotonic() + 60)
    assert caught.value.failure.cause is Cause.REJECTED_FLAGS


def test_a_busy_server_is_waited_for_and_that_is_counted(server, tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(negotiation.time, "sleep", slept.append)
    driver = connected(tmp_path, server.url("busy"))
    assert driver.facts()["told_to_wait"] == {"times": field_server.BUSY_TIMES, "seconds": 0.06}
    assert slept == [0.02] * field_server.BUSY_TIMES  # "at once" is not a tight loop
    with pytest.raises(NotReady, match="HTTP 503: Loading model; it asks to come back after 3600 s"):
        connected(tmp_path, server.url("busyforever"))


def test_a_key_is_sent_and_a_model_is_named_where_none_is_listed(server, tmp_path, monkeypatch):
    monkeypatch.setenv("FIELD_KEY", "the-key")
    endpoint = connected(tmp_path, server.url("auth"), key_variable="FIELD_KEY").endpoint()
    assert endpoint.headers == {"Authorization": "Bearer the-key"}
    assert connected(tmp_path, server.url("nomodels"), model="m").endpoint().model == "m"
    assert server.asked[-1][1]["model"] == "m"


@pytest.fixture
def secure(server, tmp_path):
    """Serve over TLS with a certificate that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server.url()


def test_tls_that_does_not_fit_is_said_at_once(secure, server, tmp_path):
    failure = refused(tmp_path, secure.replace("http:", "https:"))
    assert failure.cause is Cause.OWNER_MISTAKE
    assert "certificate verify failed: self-signed certificate" in failure.message
    assert "SSL_CERT_FILE" in failure.message
    failure = refused(tmp_path, secure)
    assert (failure.cause, "the url is https://" in failure.message) == (Cause.OWNER_MISTAKE, True)


def test_tls_to_a_server_without_it_is_said_at_once(server, tmp_path):
    failure = refused(tmp_path, server.url().replace("http:", "https:"))
    assert failure.cause is Cause.OWNER_MISTAKE
    assert "SSL" in failure.message
