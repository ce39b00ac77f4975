"""What a browser shows of a run: views built from its folder, and the server that keeps them fresh. Reads only."""
