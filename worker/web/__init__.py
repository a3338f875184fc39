"""HTTP: `health` says what is served, `server` serves it."""
