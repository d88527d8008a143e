"""Requests over HTTP on a schedule fixed beforehand: the generator runs in a process of its own."""
