"""From files that people already have to study files of ours: one module per format."""
