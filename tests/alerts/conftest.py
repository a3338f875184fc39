"""The same deployments that the tests of the main job have."""

from __future__ import annotations

from tests.integration.provisioning.conftest import closing, new_stack, quick_probes, stack
from tests.integration.web.conftest import new_endpoint

__all__ = ["closing", "new_endpoint", "new_stack", "quick_probes", "stack"]
