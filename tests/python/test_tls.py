"""Flight SQL with TLS, and what clients are told when they do not fit the server."""

import datetime
import ipaddress

import pytest
from adbc_driver_flightsql import DatabaseOptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cluster import Cluster, Node, address, tarn


def certificate(subject, key, issuer, issuer_key, authority):
    name = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])  # noqa: E731
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
    )
    if not authority:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with `ca.pem`, and `server.pem` and `key.pem` for loopback."""
    folder = tmp_path_factory.mktemp("certificates")
    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    (folder / "ca.pem").write_bytes(certificate("test authority", authority, "test authority", authority, True))
    (folder / "server.pem").write_bytes(certificate("localhost", server, "test authority", authority, False))
    (folder / "key.pem").write_bytes(server.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption(),
    ))
    return folder


def tls(certificate, key):
    return ["--set", f"coordinator.tls_cert={certificate}", "--set", f"coordinator.tls_key={key}"]


@pytest.fixture(scope="module")
def secure(tmp_path_factory, certificates):
    cluster = Cluster.dev(
        tmp_path_factory.mktemp("secure"), *tls(certificates / "server.pem", certificates / "key.pem"),
        scheme="grpc+tls", options={DatabaseOptions.TLS_ROOT_CERTS.value: (certificates / "ca.pem").read_text()},
    )
    yield cluster
    cluster.stop()


def test_adbc_speaks_tls_with_the_root_certificate(secure):
    assert secure.rows("select 1 as a, 'ü' as b") == [(1, "ü")]


def test_adbc_without_trust_is_told_of_the_certificate(secure):
    with pytest.raises(Exception, match="(?i)certificate"):
        secure.connect(**{DatabaseOptions.TLS_ROOT_CERTS.value: ""})


def test_adbc_without_tls_is_refused(secure):
    plain = Cluster(secure.folder)
    with pytest.raises(Exception, match="(?i)unavailable"):
        plain.connect(node=secure.entry())


def test_the_shell_speaks_tls_by_flag_and_by_environment(secure, certificates):
    run = ["-e", "select 1 as a", "--format", "csv"]
    by_flag = secure.sql("--tls-ca", certificates / "ca.pem", *run)
    assert (by_flag.returncode, by_flag.stdout, by_flag.stderr) == (0, "a\n1\n", "")
    by_environment = secure.sql(*run, environment={"TARN_TLS_CA": str(certificates / "ca.pem")})
    assert (by_environment.returncode, by_environment.stdout) == (0, "a\n1\n")
    by_name = tarn("sql", "--url", secure.url.replace("127.0.0.1", "localhost"), "--tls-ca", certificates / "ca.pem", *run)
    assert (by_name.returncode, by_name.stdout) == (0, "a\n1\n")


def test_the_shell_says_what_is_missing(secure, certificates, tmp_path):
    def error(*arguments):
        output = tarn("sql", "-e", "select 1", *arguments)
        assert output.returncode == 1 and output.stdout == "" and output.stderr.count("\n") == 1, output
        return output.stderr

    assert "needs --tls-ca" in error("--url", secure.url)
    assert "UnknownIssuer" in error("--url", secure.url, "--tls-ca", certificates / "server.pem")
    assert "key.pem holds no certificate" in error("--url", secure.url, "--tls-ca", certificates / "key.pem")
    assert "cannot read" in error("--url", secure.url, "--tls-ca", tmp_path / "absent.pem")
    assert "TLS (grpc+tls://)" in error("--url", f"grpc://{secure.entry().flight}")


def test_tls_to_a_server_without_a_certificate_is_refused(embedded, certificates):
    output = tarn(
        "sql", "--url", f"grpc+tls://{embedded.entry().flight}", "--tls-ca", certificates / "ca.pem", "-e", "select 1",
    )
    assert output.returncode == 1 and "the server does not speak TLS: use grpc://" in output.stderr, output


@pytest.mark.parametrize(("settings", "reason"), [
    (["tls_cert"], "belong together"),
    (["tls_cert", "tls_key"], "are not a certificate and its key"),
])
def test_a_server_does_not_start_with_a_certificate_that_it_cannot_use(tmp_path, settings, reason):
    (tmp_path / "some.pem").write_text("no certificate")
    more = [part for name in settings for part in ("--set", f"coordinator.{name}={tmp_path / 'some.pem'}")]
    node = Node(tmp_path, "dev", [
        "dev", "--data", tmp_path / "data", "--flight", address(), "--http", "off",
        "--set", f"coordinator.listen={address()}", *more,
    ], http=None).start()
    try:
        assert node.process.wait(timeout=10) == 1
    finally:
        node.kill()
    assert reason in node.tail()
