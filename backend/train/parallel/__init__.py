"""One process or many: who takes part, and how a network is spread over them. Networks know nothing of it."""
