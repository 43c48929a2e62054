"""Write-back: what the ledger says, rendered into Task and CarePlan, compared, and sent; and what came back.

``render``, ``owners`` and ``normalise`` are pure. ``deliver``, ``identity``, ``adopt`` and ``purge`` speak to
a server, always under the ledger's own rules: no PUT on a version that the ledger has not taken in
(CONSISTENCY F2).
"""
