"""Certificates: for one instance, that a float run is within its bound, decided in ball arithmetic."""
