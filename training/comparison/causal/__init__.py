"""Which heads and values does the estimate depend on?"""
