"""Networks in pure torch: architectures by name, strict loading of weights."""
