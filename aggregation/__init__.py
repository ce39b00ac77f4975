"""What the fleet learns: rounds, sums, refined policies, signatures. No Ray, no sockets."""
