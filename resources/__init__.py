"""Where and with what the life cycle runs: everything that differs between a laptop and a cluster."""
