"""When does training find the theorem?"""
