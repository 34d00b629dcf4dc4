"""A matrix machine: matrices held a row a token, and what layers of attention do to them."""
