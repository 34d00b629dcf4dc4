"""What of the weights does not change the function, and how two networks are brought together."""
