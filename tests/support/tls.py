"""A certificate of 127.0.0.1 and localhost for tests; its key is public, so it proves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

CERTIFICATE: Final = """\
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUP4T5WrzPWuZaHVwEDu7R1O7AGCEwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNTAwMTM1OVoYDzIxMjYxMTAx
MDAxMzU5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQZi2fgXA32HFIPzRASdbcNX4hKVGSbDmjhTPXiDvbzjgG8ubus5Sc+
jpxl6KT3vtNvQW8OR9UJozx7t4Lmx8Ldo28wbTAdBgNVHQ4EFgQUcbDWbLdefrKG
kVTE5rxAxsWY78swHwYDVR0jBBgwFoAUcbDWbLdefrKGkVTE5rxAxsWY78swDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhANpL2MEJddGRRuANazhwS/W92/GENh0XrxvQ/4qhcsMAAiEA
3UIqIUewXl7mD/8igaB7cY+JPqr8wp1RljWi29vofr4=
-----END CERTIFICATE-----
"""
KEY: Final = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgo0KyH1gEsbrAPSeE
PaBvzr9Ce4uAQqZLD/BVQa9Y4T2hRANCAAQZi2fgXA32HFIPzRASdbcNX4hKVGSb
DmjhTPXiDvbzjgG8ubus5Sc+jpxl6KT3vtNvQW8OR9UJozx7t4Lmx8Ld
-----END PRIVATE KEY-----
"""


def write_certificate(directory: Path) -> tuple[str, str]:
    """Its file and that of its key."""
    certificate, key = directory / "cert.pem", directory / "key.pem"
    certificate.write_text(CERTIFICATE)
    key.write_text(KEY)
    key.chmod(0o600)
    return str(certificate), str(key)
