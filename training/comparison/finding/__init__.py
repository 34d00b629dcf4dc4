"""Which conditions make training find the constructed EM, and what is found?"""
