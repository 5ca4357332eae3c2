"""Undoing: `rollback.py` from the claim to the end, `order.py` what comes first, `compensation.py` carrying it out.

`undos.py` says by what each entry is undone: what this process remembers, or what the journal alone holds.
"""
