"""A journal that a team shares, in PostgreSQL: beside `sqlite.py`, below the store."""
