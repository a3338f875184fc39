"""What can be configured: one TOML file, environment variables over it, secrets from the environment or files.

Every key has a default that works on one machine. `config.example.toml` lists all of them (a test compares the two).
Durations are in seconds unless the key says otherwise; money is in minor currency units (cents).

    sections   every key, its default and bounds
    values     kinds of value (names, pointers, URLs), and how one is refused
    keys       the list of keys, derived from the sections
    sources    the TOML file and the environment
    secrets    secrets, the files that hold them, and how they are masked
    problems   what is wrong with a configuration, under the key as its writer knows it
    model      `Settings`: all of it, loaded and checked as a whole; start here

pydantic-settings is not used: it reads `os.environ` itself, cannot say which variable or key a value came from, and its
import alone takes 100 ms of the second within which a process is ready.
"""
