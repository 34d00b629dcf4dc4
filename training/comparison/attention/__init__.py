"""Does attention weigh as the E step does?"""
