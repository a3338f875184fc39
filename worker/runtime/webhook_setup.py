"""`subkeeper setup --webhook`: our endpoint at Stripe, and its secret for whoever configures the webhook."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from worker.errors import Misconfigured
from worker.stripe_api.webhook_endpoints import EndpointFact

FILE = "--webhook-secret-file"


@dataclass(frozen=True, slots=True)
class WebhookSetup:
    """What is asked for. `url`: where Stripe is to deliver. `secret_file`: where a new endpoint's secret goes; else it
    is told. `secret_lost`: make another endpoint. `retire`: delete those that are replaced."""

    url: str
    secret_file: Path | None = None
    secret_lost: bool = False
    retire: bool = False

    def show(self, endpoint: EndpointFact) -> str:
        """Hands a new endpoint's secret over, as an entry of STRIPE_WEBHOOK_SECRETS; returns what to tell."""
        assert endpoint.secret is not None, "it was just created"
        entry = f"{entry_name(endpoint.id)}={endpoint.secret}"
        if self.secret_file is None:
            return f"webhook secret, shown this once; add it to STRIPE_WEBHOOK_SECRETS: {entry}"
        SecretFile(self.secret_file).write(f"{entry}\n")
        return (
            f"webhook secret: in {self.secret_file}; add it to STRIPE_WEBHOOK_SECRETS, or name that file in its _FILE"
        )

    def require_place(self) -> None:
        """Raises `Misconfigured` where the secret can't be written: told before there is one."""
        if self.secret_file is not None:
            SecretFile(self.secret_file).require_writable()


def entry_name(endpoint_id: str) -> str:
    """What the secret is called in our settings: its endpoint's id, in the characters that a name has there."""
    return "".join(each if each.isalnum() else "_" for each in endpoint_id.lower())[:32]


class SecretFile:
    """A new file that its owner alone may read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def require_writable(self) -> None:
        parent = self._path.absolute().parent
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise Misconfigured(FILE, f"{parent} is not a directory that can be written", "Name another place")

    def write(self, text: str) -> None:
        """Never over another one; what it holds already, of a run that was killed, is as good."""
        try:
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            if not self._holds(text):
                fix = "Name a new file and run this again within a day: the secret is still to be had"
                raise Misconfigured(FILE, f"{self._path} is there, and holds something else", fix) from None
        except OSError as error:
            fix = "Name another file and run this again within a day: the secret is still to be had"
            raise Misconfigured(FILE, f"{self._path} can't be written: {error.strerror}", fix) from error

    def _holds(self, text: str) -> bool:
        try:
            return self._path.read_text() == text
        except (OSError, UnicodeDecodeError):
            return False
