"""Mirrors of the ledger: MLflow."""
