"""What can be configured: one TOML file, environment variables over it, secrets from the environment or files.

Every key has a default that works on one machine. `config.example.toml` lists all of them (a test compares the two).
Durations are in seconds unless the key says otherwise; money is in minor currency units (cents).

    model      `Settings`: all of it, loaded and checked as a whole; start here
    sections   every key, its default and bounds, and the kinds of its values
    loading    the TOML file and the environment, and what of them cannot be used
    secrets    secrets, the files that hold them, and how they are masked

pydantic-settings is not used: it reads `os.environ` itself, cannot say which variable or key a value came from, and its
import alone takes 100 ms of the second within which a process is ready.
"""
