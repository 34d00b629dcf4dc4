"""What is claimed of trained networks, as lines of the ledger."""
