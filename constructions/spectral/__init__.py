"""The whole spectral algorithm in attention weights: from raw points to weights and means."""
