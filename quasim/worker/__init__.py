"""The process in which variants run, apart from the agent: they may crash, hang, or eat all memory there."""
