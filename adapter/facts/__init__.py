"""What holds for a patient before any rule: the guards, the links, the live answers.

Everything here is pure: a :class:`adapter.model.Chart` in, typed facts out. No I/O, no clock, no logging.
"""
