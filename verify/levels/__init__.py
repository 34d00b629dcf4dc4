"""The published levels of the reference algorithms, measured again."""
