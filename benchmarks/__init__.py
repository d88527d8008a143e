"""Us against the peers on the same work, in one run; figures are ratios with their spread over seeds."""
