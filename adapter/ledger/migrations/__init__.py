"""Numbered, forward-only migrations: ``NNN_name.sql``, each run once, in its own transaction."""
