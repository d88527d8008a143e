"""Systems that are served: how a configuration becomes the command line of each server."""
