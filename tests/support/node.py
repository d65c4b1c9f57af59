"""Node, where there is one."""

import shutil
import subprocess

import pytest
from patience import LIMIT


def node_runs(*arguments: str) -> bool:
    """Whether Node is there and runs this without an error."""
    node = shutil.which("node")
    if node is None:
        return False
    run = subprocess.run([node, *arguments], capture_output=True, check=False, timeout=LIMIT)
    return run.returncode == 0


def skip_without_ws() -> None:
    """Skip a test that needs Node's package ws."""
    if not node_runs("-e", "require('ws')"):
        pytest.skip("needs Node and its package ws: npm install ws, and NODE_PATH to find it")
