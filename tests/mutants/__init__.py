"""Mutants: one mistake each is planted in the code, which a named test must notice (`make mutants`)."""
