"""Is the constructed EM a better start for meta-training than random weights of the same shape?"""
