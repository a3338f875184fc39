"""What can be configured: one TOML file, environment variables over it, secrets from the environment or files.

Every key has a default that works on one machine. `config.example.toml` lists all of them (a test compares the two).
Durations are in seconds unless the key says otherwise; money is in minor currency units (cents).

    sections   every key, its default and bounds
    values     kinds of value (addresses, names, pointers, URLs)
    keys       the list of keys, derived from the sections
    sources    the TOML file and the environment
    secrets    secrets and the files that hold them
    model      `Settings`: all of it, loaded and checked as a whole
    effective  what is in force, with secrets masked, for `subkeeper config check`

pydantic-settings is not used: it reads `os.environ` itself, cannot say which variable or key a value came from, and its
import alone takes 100 ms of the second within which a process is ready.
"""

from __future__ import annotations

from worker.settings.effective import as_json, as_toml, effective
from worker.settings.model import Settings
from worker.settings.problems import InvalidSettings
from worker.settings.sections import (
    AbsorbSettings,
    DatabaseSettings,
    HealthSettings,
    LogSettings,
    MessageSettings,
    NsqSettings,
    NsqTlsSettings,
    PlanSettings,
    QuarantineSettings,
    SettleSettings,
    StripeSettings,
    TrialSettings,
)
from worker.settings.values import Name, PositiveSeconds

__all__ = [
    "AbsorbSettings",
    "DatabaseSettings",
    "HealthSettings",
    "InvalidSettings",
    "LogSettings",
    "MessageSettings",
    "Name",
    "NsqSettings",
    "NsqTlsSettings",
    "PlanSettings",
    "PositiveSeconds",
    "QuarantineSettings",
    "Settings",
    "SettleSettings",
    "StripeSettings",
    "TrialSettings",
    "as_json",
    "as_toml",
    "effective",
]
