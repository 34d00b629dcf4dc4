"""The network: tokens in, mixture out, on the transformer of the constructions."""
