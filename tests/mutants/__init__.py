"""Mutants: bugs of the kind people really write, each a single edit that the tests must catch."""
