"""The certificate the gateway serves with: checked before anything else is started."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PASSWORD_VARIABLE: Final = "PANELBUS_TLS_KEY_PASSWORD"


class BadCertificate(Exception):
    """The certificate or its key can't be used; the message says which and what to do."""


@dataclass(frozen=True)
class Tls:
    """Files in PEM, and the password of the key if it has one."""

    certificate: Path  # with the chain
    key: Path
    password: str | None = field(default=None, repr=False)

    def check(self) -> None:
        """Try the files, as the server will use them.

        Raises:
            BadCertificate: a file is missing or wrong, or the two don't belong together.
        """
        for what, path in (("certificate", self.certificate), ("key", self.key)):
            try:
                with path.open("rb"):
                    pass
            except OSError as error:
                raise BadCertificate(
                    f"can't read the {what} {path}: {error.strerror or error}"
                ) from error
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        asked = False

        def password() -> str:
            # without one OpenSSL would ask the terminal
            nonlocal asked
            asked = True
            return self.password or ""

        try:
            context.load_cert_chain(self.certificate, self.key, password)
        except (ssl.SSLError, ValueError) as error:
            raise BadCertificate(self._why(error, asked)) from error

    def _why(self, error: Exception, asked: bool) -> str:
        reason = getattr(error, "reason", None) or str(error)
        if asked:
            held = "another one" if self.password else "none"
            return f"the key {self.key} has a password, and {PASSWORD_VARIABLE} holds {held}"
        if reason == "KEY_VALUES_MISMATCH":
            return f"the key {self.key} does not belong to the certificate {self.certificate}"
        return (
            f"can't use the certificate {self.certificate} with the key {self.key}: {reason}; give"
            " both in PEM"
        )
