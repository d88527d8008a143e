"""What measuring a candidate is worth: one module per acquisition function, all by the same contract.

Owns the values of candidates that can be measured and keep the limits. Imports the models and their contract;
who calls adds the probabilities.
"""
