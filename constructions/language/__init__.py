"""The language of constructions: stream, scores, heads, MLPs, and the transformer that runs."""
