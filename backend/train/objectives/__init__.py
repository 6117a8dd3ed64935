"""What networks are trained for: each objective turns a batch into named losses, and says what is exported."""
