"""Does training from the construction stay, and does training from elsewhere arrive at it?"""
