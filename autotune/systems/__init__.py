"""What is tuned: one module per kind of inference system."""
