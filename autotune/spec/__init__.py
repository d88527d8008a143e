"""From text to values: study files, catalogue files, their errors with positions."""
