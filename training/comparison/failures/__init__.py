"""Does the network fail where EM fails?"""
