"""Does the network adapt its work to how hard the task is?"""
