"""Many studies and workers on one head: real drivers, ledgers, Ray, MLflow; the trials are simulated."""
