"""Settings for all tests."""

import os

from hypothesis import settings

# No deadlines: a busy machine is no bug. In CI the examples are always the same ones, so that a red build is about the change.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
