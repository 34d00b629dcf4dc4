"""Pieces of work on the processes of this machine, or on the workers of a Dask cluster: the same results."""
