"""Coordination knowledge as files: the mapping language, its edition of rules, and their evaluation.

Everything here but :mod:`adapter.mapping.loader` is pure: no I/O, no clock (now is an argument), no logging.
"""
