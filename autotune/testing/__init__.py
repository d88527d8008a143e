"""Contract suites that third-party engines, systems and executors can run."""
