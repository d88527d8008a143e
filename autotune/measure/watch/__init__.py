"""What the machine and the server say beside the records: processor time, clocks, energy, counters, hardware.

Owns what is read from the operating system, the GPUs and a server's metrics page. Imports no other room.
"""
