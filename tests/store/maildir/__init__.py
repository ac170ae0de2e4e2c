"""Maildirs: what is particular to them, from file names to power failures."""
