"""One run from the snapshot's folder to the committed CDM: the rooms' functions in order.

Belongs here: the order of steps, the lock, guards and row accounting. Does not: how any step is done.
"""
