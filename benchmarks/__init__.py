"""One file a claim: ``python -m benchmarks.NAME [--json]`` prints a table, or one JSON document."""
