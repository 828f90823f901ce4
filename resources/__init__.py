"""Where and with what the life cycle runs: what differs between a laptop and a cluster."""
