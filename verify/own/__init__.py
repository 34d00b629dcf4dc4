"""A theorem from a file of somebody's own: run, bounded, searched and certified."""
