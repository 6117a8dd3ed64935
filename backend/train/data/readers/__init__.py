"""Readers of folders as people download them; each yields samples, one place after the other."""
