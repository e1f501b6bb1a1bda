"""Running a script in a process of its own, for what would harm this one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

# what a shell starts in the background ignores Ctrl-C, and so would its children
_INTERRUPTIBLE = """
import signal as _signal
_signal.signal(_signal.SIGINT, _signal.default_int_handler)
"""


def run_script(script: str, folder: Path, *arguments: str, **environment: Any) -> str:
    """Run Python code that must succeed, its kernels in `folder`; return its output."""
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning"),
            *("-c", _INTERRUPTIBLE + textwrap.dedent(script), *arguments),
        ],
        env={**os.environ, "GRAPHC_CACHE_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stderr}"
    return done.stdout
