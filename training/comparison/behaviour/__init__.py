"""Which algorithm is the network nearest to?"""
