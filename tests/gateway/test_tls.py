"""HTTPS: what is served, and which files are refused."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import warnings
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from broker.gateway.guard import HSTS
from broker.gateway.tls import PASSWORD_VARIABLE, BadCertificate, Tls
from tests.gateway.test_main import refused, running

OPENSSL = shutil.which("openssl")
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(OPENSSL is None, reason="needs the program openssl to make certificates"),
]
PASSWORD = "correct horse"


class Files(NamedTuple):
    """A certificate of localhost with its key, plain and with PASSWORD; and another key."""

    certificate: Path
    key: Path
    locked: Path
    other: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    files = Files(*(folder / f"{name}.pem" for name in Files._fields))

    def openssl(*words: str) -> None:
        subprocess.run([str(OPENSSL), *words], check=True, capture_output=True, timeout=60)

    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    for key in (files.key, files.other):
        openssl("genpkey", *curve, "-out", str(key))
    openssl("pkey", "-in", str(files.key), "-aes256", "-passout", f"pass:{PASSWORD}", "-out",
            str(files.locked))  # fmt: skip
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    openssl("req", "-x509", "-key", str(files.key), "-out", str(files.certificate), "-days", "2",
            "-subj", "/CN=localhost", "-addext", names)  # fmt: skip
    return files


def trusting(files: Files) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(files.certificate))


def test_it_serves_https_and_nothing_older_than_tls_1_2(files: Files) -> None:
    flags = ("--tls-cert", str(files.certificate), "--tls-key", str(files.key))
    with running(*flags, "--allow-host", "api.example") as (_, url):
        assert url.startswith("https://127.0.0.1:")
        with httpx.Client(base_url=url, verify=trusting(files), trust_env=False) as client:
            answer = client.get("/healthz")
            assert answer.json() == {"status": "ok"}
            # HSTS has no ports: it would take http away from everything else on this machine
            assert "strict-transport-security" not in answer.headers
            named = client.get("/healthz", headers={"host": "api.example"})
            assert named.headers["strict-transport-security"] == HSTS
            refusal = client.get("/nothing", headers={"host": "api.example"})
            assert refusal.headers["strict-transport-security"] == HSTS
        with pytest.raises(httpx.TransportError):
            httpx.get(url.replace("https", "http"), trust_env=False)
        for newest, served in ((ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_1, False)):
            assert answers_up_to(newest, url, files) == served


def answers_up_to(newest: ssl.TLSVersion, url: str, files: Files) -> bool:
    """Whether a client is served that knows TLS up to this version."""
    context = trusting(files)
    context.set_ciphers("ALL:@SECLEVEL=0")  # or the client itself would refuse the old one
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = newest
    try:
        return httpx.get(f"{url}/healthz", verify=context, trust_env=False).status_code == 200
    except httpx.ConnectError:
        return False


def test_a_key_with_a_password(files: Files) -> None:
    flags = ("--tls-cert", str(files.certificate), "--tls-key", str(files.locked))
    with running(*flags, **{PASSWORD_VARIABLE: PASSWORD}) as (_, url):
        answer = httpx.get(f"{url}/healthz", verify=trusting(files), trust_env=False)
        assert answer.status_code == 200


def test_plain_http_has_no_hsts() -> None:
    with running("--allow-host", "api.example") as (_, url):
        answer = httpx.get(f"{url}/healthz", headers={"host": "api.example"}, trust_env=False)
        assert "strict-transport-security" not in answer.headers


def test_wrong_files_are_one_line(files: Files, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    missing = tmp_path / "missing.pem"
    for certificate, key, password, why in (
        (missing, files.key, "", f"can't read the certificate {missing}: No such file or direc"),
        (files.certificate, missing, "", f"can't read the key {missing}: No such file or direc"),
        (tmp_path, files.key, "", "Is a directory"),
        (nonsense, files.key, "", f"can't use the certificate {nonsense} with the key {files.key}"),
        (files.certificate, nonsense, "", "give both in PEM"),
        (files.certificate, files.other, "", f"the key {files.other} does not belong to the cert"),
        (files.certificate, files.locked, "", f"has a password, and {PASSWORD_VARIABLE} holds non"),
        (files.certificate, files.locked, "x", f"and {PASSWORD_VARIABLE} holds another one"),
    ):
        with pytest.raises(BadCertificate) as caught:
            Tls(certificate, key, password or None).check()
        assert why in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_wrong_start_is_refused(files: Files) -> None:
    both = ("--tls-cert", str(files.certificate), "--tls-key", str(files.locked))
    assert (
        refused(*both)
        == f"the key {files.locked} has a password, and {PASSWORD_VARIABLE} holds none"
    )
    assert refused(*both[:2]) == "give both --tls-cert and --tls-key"
    assert refused(*both[2:]) == "give both --tls-cert and --tls-key"
    secret = refused(*both, **{PASSWORD_VARIABLE: "not-this-one"})
    assert "not-this-one" not in secret


def test_the_password_is_not_in_what_is_printed() -> None:
    assert "hush" not in repr(Tls(Path("c"), Path("k"), "hush"))
