"""What people are shown: timings, summaries, progress.

Belongs here: making and printing them. Does not: deciding anything about data.
"""
