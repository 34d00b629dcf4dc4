"""What does the stream hold after each layer?"""
