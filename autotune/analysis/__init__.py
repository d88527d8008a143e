"""Facts computed from a study: what its trials say of goals, limits, parameters and the machine.

Owns :class:`~autotune.analysis.study_view.StudyView` and every value that a figure or a report shows; no
figures, no text for people. May import ``core``, ``engine`` and ``spec``.
"""
