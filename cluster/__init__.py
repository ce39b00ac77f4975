"""How it is started: command line, configuration, fleet driver and report."""
