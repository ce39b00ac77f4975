"""What must survive: Arrow schemas, telemetry segments, spools, keys and policies on disk. No Ray."""
