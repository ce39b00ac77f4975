"""The C target: schedules printed as C, compiled by the system compiler, run in worker processes."""
