"""Where kernels run: C on this machine's CPU, and replayed recordings."""
