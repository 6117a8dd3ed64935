"""The dock: one module per section, view only. What is chosen becomes a job in `plugin.choice`."""
