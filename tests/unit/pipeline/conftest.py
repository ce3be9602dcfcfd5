"""What runs of several rooms need."""

import pytest

from whisper_peft.evaluation.health.budgets import BUDGETS, Budget


@pytest.fixture(scope="module")
def small_health_budget():
    """Let a health check hear little of everything."""
    budget = Budget(named=3, brought=1, prompts=4, sounds=2, windows=1, recordings=1, rounded=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUDGETS, "quick", budget)
        yield
