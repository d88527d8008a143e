"""An engine, a system, a metric and an export format for autotune."""
