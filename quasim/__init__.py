"""QuASIM: tune GPU and CPU kernels once, across a fleet, privately. This is the engine of one machine."""
