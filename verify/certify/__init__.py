"""Certificates: statements about one instance that hold for certain, by evaluation in balls."""
