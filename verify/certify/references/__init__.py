"""The reference algorithms in balls, straight from float64 inputs, which are dyadic: independent of torch.

Each file gives the states of one task as its theorem's ``reference`` does: names, items and their order are
the same, without the axis of tasks. Precision is the ambient one (verify.balls.flint.precision). A comparison
that is not decided raises Undecided, and more bits may decide it. States are NaN from where the algorithm is
not defined; the definitions name float64's unit roundoff and smallest normal number, as the baselines' do.
"""
