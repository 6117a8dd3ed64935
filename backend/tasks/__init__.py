"""What a user can ask for: scene, runtime and output put together."""
