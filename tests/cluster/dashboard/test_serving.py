from __future__ import annotations

import ssl
from contextlib import closing
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cluster.dashboard.app import create_app
from cluster.dashboard.serving import Place, Tls
from quasim.errors import ConfigError
from tests.cluster.dashboard.served import served
from tests.cluster.dashboard.small_run import SmallRun


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_loopback_needs_no_tls_and_is_asked_by_its_own_names_alone(host: str) -> None:
    place = Place(host, 0)
    assert place.hosts is not None
    assert {host, "localhost"} <= place.hosts
    assert "evil.example" not in place.hosts


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "fleet.example"])
def test_beyond_loopback_somebody_has_to_say_that_others_may_read_along(host: str) -> None:
    with pytest.raises(ConfigError, match="--insecure-plain"):
        Place(host, 0)
    assert Place(host, 0, plain=True).hosts is None
    assert Place(host, 0, tls=Tls(Path("cert.pem"), Path("key.pem"))).hosts is None


def test_a_certificate_comes_with_its_key(tmp_path: Path) -> None:
    assert Tls.of(None, None) is None
    with pytest.raises(ConfigError, match="both"):
        Tls.of(tmp_path / "cert.pem", None)
    (tmp_path / "cert.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"cert\.pem"):
        Tls.of(tmp_path / "cert.pem", tmp_path / "cert.pem")


def test_the_url_names_the_port_that_was_free() -> None:
    place = Place("127.0.0.1", 0)
    with closing(place.listen()) as listening:
        port = listening.getsockname()[1]
        assert place.url(listening) == f"http://127.0.0.1:{port}/"
        with pytest.raises(ConfigError, match="choose another --port"):
            Place("127.0.0.1", port).listen()


def test_with_tls_it_is_asked_by_tls_alone(small_run: SmallRun, certificate: Tls) -> None:
    app = create_app(small_run.folder.path, "a token of sixteen", secure=True)
    context = ssl.create_default_context(cafile=str(certificate.cert))
    with served(app, certificate) as url, httpx.Client(base_url=url, trust_env=False, verify=context) as client:
        assert url.startswith("https://")
        assert client.get("/health").json() == {"status": "ok"}
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{url.replace('https', 'http')}/health", trust_env=False)


@pytest.fixture
def certificate(tmp_path: Path) -> Tls:
    """Of 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dashboard")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(pem))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    found = Tls.of(tmp_path / "cert.pem", tmp_path / "key.pem")
    assert found is not None
    return found
