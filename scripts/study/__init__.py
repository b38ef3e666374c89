"""The study behind docs/statistics.md: simulated candidates, and what the records' own runs show."""
