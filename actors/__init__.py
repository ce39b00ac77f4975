"""Ray actors, thin: node agents and the aggregator."""
