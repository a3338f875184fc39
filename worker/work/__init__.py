"""Leased work, whoever's: the threads that do it (`dispatcher`), and when nobody's can be done (`halting`)."""
