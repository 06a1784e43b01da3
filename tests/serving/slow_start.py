"""A serving worker that takes long to start: while the file that the environment names is there,
the factory sleeps.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from opsin.core.isolated import Function, report_stage
from opsin.serving.worker import factory as real_factory

BRAKE = "OPSIN_TEST_BRAKE"


def factory(config: dict[str, Any]) -> Function:
    """The real worker, once the brake is off."""
    report_stage("load")
    while Path(os.environ[BRAKE]).exists():
        time.sleep(0.05)
    return real_factory(config)
