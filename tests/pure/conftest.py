"""How hypothesis looks for counterexamples: without a stopwatch, and in CI always with the same samples."""

import os

import hypothesis

hypothesis.settings.register_profile("ours", deadline=None, derandomize=os.environ.get("CI") == "true")
hypothesis.settings.load_profile("ours")
