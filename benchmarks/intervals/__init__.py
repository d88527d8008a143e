"""Coverage of the reported intervals on simulated servers whose truth is known."""
