"""Postgres itself: the pool and its transactions (`database`), what it says (`errors`), its schema (`migrations`)."""
