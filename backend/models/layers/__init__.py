"""Building blocks that several networks share; each module holds one mechanism."""
