"""What tests of monitoring need."""

from tests.operators.conftest import site

__all__ = ["site"]
