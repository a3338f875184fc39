"""The same deployments that the tests of the main job have."""

from __future__ import annotations

from tests.integration.provisioning.conftest import closing, new_stack, quick_probes, stack

__all__ = ["closing", "new_stack", "quick_probes", "stack"]
