"""Making model packages of the foundation encoders: their descriptions, and what a package holds beside them."""
