"""A theorem played: one page in which a reader steps through the layers, on one task of a run."""
