"""TLS that verifies, AUTH whose secret stays secret, and logs without bodies."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox.nsq import Nsqd, Tls
from tests.conftest import NewNsqd
from tests.integration.broker.conftest import NewReader, receive, settings_for, until
from tests.integration.broker.peer import RESPONSE, Peer, frame
from worker.broker.publisher import Publisher
from worker.broker.reader import Reader
from worker.errors import Misconfigured, Unavailable
from worker.settings.sections import NsqSettings

NewPublisher = Callable[[NsqSettings], Publisher]
SECRET = "correct-horse-battery-staple"
BODY = b'{"email": "ada@example.com"}'


class Authority:
    """A certificate authority of a test's own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, directory.name)])
        certificate = self._sign(
            self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0), None
        )
        self.file = self._write("ca.pem", certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, ip: str | None = None) -> tuple[Path, Path]:
        """Certificate and key for a DNS name, or an IP address."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alternative = x509.IPAddress(ip_address(ip)) if ip else x509.DNSName(name)
        end_entity = x509.BasicConstraints(ca=False, path_length=None)
        certificate = self._sign(subject, key.public_key(), end_entity, x509.SubjectAlternativeName([alternative]))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = certificate.public_bytes(serialization.Encoding.PEM)
        return self._write(f"{name}.pem", public), self._write(f"{name}.key", private)

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        constraints: x509.BasicConstraints,
        alternative: x509.SubjectAlternativeName | None,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(_usage(ca=constraints.ca), critical=True)
        )
        if alternative is not None:
            builder = builder.add_extension(alternative, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, data: bytes) -> Path:
        file = self._directory / name
        file.write_bytes(data)
        return file


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls_nsqd(new_nsqd: NewNsqd, authority: Authority) -> Nsqd:
    certificate, key = authority.issue("nsqd", ip="127.0.0.1")
    return new_nsqd(tls=Tls(certificate, key))


def refusal(reader: Reader) -> dict[str, Any]:
    """Why the reader cannot connect."""
    with structlog.testing.capture_logs() as logs:
        until(lambda: [entry for entry in logs if entry["event"] == "nsqd.refused"], reader)
    assert not reader.connected
    return dict(next(entry for entry in logs if entry["event"] == "nsqd.refused"))


def test_messages_pass_over_tls(
    tls_nsqd: Nsqd, authority: Authority, topic: str, new_reader: NewReader, new_publisher: NewPublisher
) -> None:
    settings = settings_for(tls_nsqd.tcp_address, tls={"enabled": True, "ca_file": authority.file})
    new_publisher(settings).publish(topic, [b"%d" % number + b"x" * 50_000 for number in range(100)])
    reader = new_reader(settings, topic)
    assert len({message.body for message in receive(reader, 100)}) == 100
    [connection] = reader._connections.live
    assert connection.sock.version() == "TLSv1.3"  # type: ignore[attr-defined]  # an SSLSocket
    until(lambda: tls_nsqd.channel(topic, "subkeeper")["in_flight_count"] == 0)
    reader.close(2.0)
    until(lambda: not tls_nsqd.channel(topic, "subkeeper")["clients"])


def test_a_certificate_of_another_authority_is_refused(
    tls_nsqd: Nsqd, tmp_path: Path, topic: str, new_reader: NewReader
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    reader = new_reader(settings_for(tls_nsqd.tcp_address, tls={"enabled": True, "ca_file": other.file}), topic)
    assert refusal(reader)["reason"] == "tls_failed"


def test_a_certificate_for_another_name_is_refused(
    new_nsqd: NewNsqd, authority: Authority, topic: str, new_reader: NewReader
) -> None:
    nsqd = new_nsqd(tls=Tls(*authority.issue("elsewhere.example")))
    reader = new_reader(settings_for(nsqd.tcp_address, tls={"enabled": True, "ca_file": authority.file}), topic)
    assert refusal(reader)["reason"] == "tls_failed"


def test_an_nsqd_without_tls_is_refused_and_hears_no_secret(
    peer: Peer, authority: Authority, new_reader: NewReader
) -> None:
    tls = {"enabled": True, "ca_file": authority.file}
    reader = new_reader(settings_for(peer.address, tls=tls, auth_secret=SECRET), "topic")
    session = peer.accept()
    session.identify(tls_v1=False, auth_required=True)
    assert session.line() == b""
    assert refusal(reader)["detail"] == "nsqd offers no TLS"


def test_plain_bytes_before_the_handshake_are_not_trusted(
    peer: Peer, authority: Authority, new_reader: NewReader
) -> None:
    reader = new_reader(settings_for(peer.address, tls={"enabled": True, "ca_file": authority.file}), "topic")
    session = peer.accept()
    answer = json.dumps({"tls_v1": True}).encode()
    session.introduced()
    session.send(frame(RESPONSE, answer) + frame(RESPONSE, b"OK"))
    assert refusal(reader)["reason"] == "bad_frame"


def test_a_client_certificate_is_shown_where_nsqd_asks(
    new_nsqd: NewNsqd, authority: Authority, topic: str, new_publisher: NewPublisher
) -> None:
    certificate, key = authority.issue("nsqd", ip="127.0.0.1")
    nsqd = new_nsqd(tls=Tls(certificate, key, client_ca=authority.file))
    ours, our_key = authority.issue("subkeeper")
    tls = {"enabled": True, "ca_file": authority.file, "cert_file": ours, "key_file": our_key}
    new_publisher(settings_for(nsqd.tcp_address, tls=tls)).publish(topic, [b"x"])
    without = settings_for(nsqd.tcp_address, tls={"enabled": True, "ca_file": authority.file})
    with pytest.raises(Unavailable):
        new_publisher(without).publish(topic, [b"x"], timeout=0.5)


def test_an_nsqd_that_requires_tls_refuses_us_without_it(tls_nsqd: Nsqd, topic: str, new_reader: NewReader) -> None:
    assert (
        refusal(new_reader(settings_for(tls_nsqd.tcp_address), topic))["detail"]
        == "E_INVALID cannot SUB in current state (TLS required)"
    )


def test_tls_files_that_cannot_be_loaded_are_a_persons_to_mend(tmp_path: Path, new_publisher: NewPublisher) -> None:
    with pytest.raises(Misconfigured, match=r"missing\.pem cannot be loaded \(No such file or directory\)"):
        new_publisher(settings_for("127.0.0.1:1", tls={"enabled": True, "ca_file": tmp_path / "missing.pem"}))


def test_a_replaced_certificate_is_shown_at_the_next_connection_and_a_broken_one_never(
    new_nsqd: NewNsqd, authority: Authority, tmp_path: Path, topic: str, new_reader: NewReader
) -> None:
    """The authority that signs both ends is replaced, too."""
    (tmp_path / "next").mkdir()
    following = Authority(tmp_path / "next")
    certificate, key = authority.issue("nsqd", ip="127.0.0.1")
    client_ca = tmp_path / "client_ca.pem"
    client_ca.write_bytes(authority.file.read_bytes())
    nsqd = new_nsqd(tls=Tls(certificate, key, client_ca=client_ca))
    ca = tmp_path / "our_ca.pem"
    ca.write_bytes(authority.file.read_bytes())
    ours, our_key = authority.issue("subkeeper")
    reader = new_reader(
        settings_for(nsqd.tcp_address, tls={"enabled": True, "ca_file": ca, "cert_file": ours, "key_file": our_key}),
        topic,
    )
    until(lambda: reader.connected, reader)
    with structlog.testing.capture_logs() as logs:
        good = our_key.read_bytes()
        our_key.write_text("nothing like a key")
        for _ in range(2):
            nsqd.restart()
            until(lambda: not reader.connected, reader)
            until(lambda: reader.connected, reader)
        assert [each["setting"] for each in logs if each["event"] == "nsq_credentials.refused"] == ["nsq.tls"]
        our_key.write_bytes(good)
        nsqd.stop()
        until(lambda: not reader.connected, reader)
        for target, source in zip((certificate, key), following.issue("nsqd", ip="127.0.0.1"), strict=True):
            target.write_bytes(source.read_bytes())
        for target in (client_ca, ca):
            target.write_bytes(following.file.read_bytes())
        for target, source in zip((ours, our_key), following.issue("subkeeper"), strict=True):
            target.write_bytes(source.read_bytes())
        nsqd.start()
        until(lambda: reader.connected, reader)
    assert "nsq_credentials.changed" in [each["event"] for each in logs]


def test_a_replaced_secret_is_told_at_the_next_connection_and_an_empty_file_is_not(
    new_nsqd: NewNsqd,
    auth_address: str,
    known_secrets: set[str],
    tmp_path: Path,
    topic: str,
    new_reader: NewReader,
    new_publisher: NewPublisher,
) -> None:
    nsqd = new_nsqd(auth_http_address=auth_address)
    file = tmp_path / "secret"
    file.write_text(SECRET)
    settings = settings_for(nsqd.tcp_address, auth_secret_file=file)
    reader, publisher = new_reader(settings, topic), new_publisher(settings)
    publisher.publish(topic, [b"x"])
    until(lambda: reader.connected, reader)
    with structlog.testing.capture_logs() as logs:
        for written, told in (("", SECRET), ("another-secret", "another-secret")):
            file.write_text(written)
            known_secrets.clear()
            known_secrets.add(told)
            nsqd.restart()
            until(lambda: not reader.connected, reader)
            until(lambda: reader.connected, reader)
            publisher.publish(topic, [b"x"])
    said = Counter(each["event"] for each in logs if each["event"].startswith("nsq_credentials"))
    assert said == {"nsq_credentials.refused": 2, "nsq_credentials.changed": 2}, "once by each: reader and publisher"
    assert "another-secret" not in str(logs)


@pytest.fixture
def known_secrets() -> set[str]:
    """What the auth server lets in."""
    return {SECRET}


@pytest.fixture
def auth_address(known_secrets: set[str]) -> Iterator[str]:
    """An auth server that knows some secrets."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = known_secrets.issuperset(parse_qs(urlsplit(self.path).query).get("secret") or [""])
            permissions = [{"topic": ".*", "channels": [".*"], "permissions": ["subscribe", "publish"]}]
            answer = {"ttl": 60, "identity": "worker", "authorizations": permissions if known else []}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's signature
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_right_secret_lets_us_read_and_publish(
    new_nsqd: NewNsqd,
    auth_address: str,
    topic: str,
    new_reader: NewReader,
    new_publisher: NewPublisher,
    capfd: pytest.CaptureFixture[str],
) -> None:
    nsqd = new_nsqd(auth_http_address=auth_address)
    settings = settings_for(nsqd.tcp_address, auth_secret=SECRET)
    new_publisher(settings).publish(topic, [BODY])
    assert receive(new_reader(settings, topic), 1)[0].body == BODY
    printed = "".join(capfd.readouterr())
    assert SECRET not in printed
    assert "ada@" not in printed


@pytest.mark.parametrize(("secret", "detail"), [("wrong", "E_UNAUTHORIZED"), (None, "nsqd wants nsq.auth_secret")])
def test_a_wrong_or_missing_secret_is_refused_and_tried_again(
    new_nsqd: NewNsqd, auth_address: str, topic: str, new_reader: NewReader, secret: str | None, detail: str
) -> None:
    nsqd = new_nsqd(auth_http_address=auth_address)
    assert refusal(new_reader(settings_for(nsqd.tcp_address, auth_secret=secret), topic))["detail"].startswith(detail)


def test_an_auth_server_that_is_away_is_refused_and_tried_again(
    new_nsqd: NewNsqd, topic: str, new_reader: NewReader
) -> None:
    nsqd = new_nsqd(auth_http_address="127.0.0.1:1")
    reader = new_reader(settings_for(nsqd.tcp_address, auth_secret=SECRET), topic)
    assert refusal(reader)["detail"].startswith("E_AUTH_FAILED")


def test_a_secret_comes_from_a_file_too(
    new_nsqd: NewNsqd, auth_address: str, topic: str, new_publisher: NewPublisher, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    nsqd = new_nsqd(auth_http_address=auth_address)
    new_publisher(settings_for(nsqd.tcp_address, auth_secret_file=tmp_path / "secret")).publish(topic, [b"x"])


def test_nsq_py_logs_nothing_however_logging_is_configured_later(
    nsqd: Nsqd, topic: str, new_reader: NewReader, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("nsq")
    logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.DEBUG)
    logger.propagate = True
    nsqd.publish(topic, BODY)
    [message] = receive(new_reader(settings_for(nsqd.tcp_address), topic), 1)
    logger.critical("%s", message.body)
    assert "ada@" not in "".join(capfd.readouterr()) + caplog.text + repr(message)


def test_importing_the_broker_takes_neither_nsq_pys_client_nor_its_http() -> None:
    code = "import sys, worker.broker.reader, worker.broker.publisher; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "nsq.connection" in modules
    assert not {"nsq.client", "nsq.reader", "nsq.http", "requests", "statsd"} & set(modules)
