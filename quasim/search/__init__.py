"""Ask/tell strategies over one search space."""
