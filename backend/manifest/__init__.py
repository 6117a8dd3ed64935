"""Model packages: what they say, how they are checked, stored and built."""
