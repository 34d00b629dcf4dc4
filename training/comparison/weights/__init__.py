"""Are the learned weights the constructed ones, up to symmetry?"""
