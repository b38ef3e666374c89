"""How hypothesis looks for counterexamples: without a stopwatch, and in CI always with the same samples."""

import os

import hypothesis

hypothesis.settings.register_profile(
    "ours",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
hypothesis.settings.load_profile("ours")
