"""A pytest plugin for runs that only ask whether a test fails: found failures are not shrunk."""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), database=None)
settings.load_profile("mutants")
