"""Contract suites that engines, systems, metrics, executors, mirrors, exporters and converters inherit.

Owns what each contract demands. May import ``engine``, ``systems``, ``measure``, ``executor``, ``tracking``,
``export``, ``convert``, ``ledger``, ``spec`` and ``core``.
"""

import pytest

# an assertion that fails says what was compared, as in a test of one's own
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{kind}_contract"
        for kind in ("engine", "system", "metric", "executor", "mirror", "exporter", "converter")
    )
)
