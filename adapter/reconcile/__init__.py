"""Deciding which coordination tasks should exist, and taking that to the ledger.

``needs`` and ``changes`` are pure; ``guards`` counts floods; ``reconciler`` reads charts, asks for evidence and
commits.
"""
