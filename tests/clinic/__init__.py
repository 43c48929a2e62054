"""A simulated clinic: two years of history, then sixty working days with Baton and its coordinators.

``python -m tests.clinic`` prints how many tasks a day come of it, by rule.
"""
