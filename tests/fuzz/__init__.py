"""Fuzzing: every decoder, parser and the fold, under mutated real messages and hostile inputs.

Short in the ordinary run; with HYPOTHESIS_PROFILE=long fifty times as long, and new each time.
"""
