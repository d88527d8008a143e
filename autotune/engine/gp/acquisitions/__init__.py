"""What measuring a candidate is worth: one module per acquisition function, all by the same contract."""
