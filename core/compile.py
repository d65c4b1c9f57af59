"""A build hook: compiles the relay path with mypyc when REKNIT_COMPILE is set.

The same typed Python source runs either way; a compiled module lies beside its source in the
wheel, and Python prefers it.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULES = (
    "core/reknit_core/commands.py",
    "core/reknit_core/counters.py",
    "core/reknit_core/driver.py",
    "core/reknit_core/events.py",
    "core/reknit_core/lifecycle.py",
    "core/reknit_core/dialect/byte_stream.py",
    "core/reknit_core/dialect/choice.py",
    "core/reknit_core/dialect/conversation.py",
    "core/reknit_core/dialect/halves.py",
    "core/reknit_core/dialect/interpreter.py",
    "core/reknit_core/dialect/registry.py",
    "core/reknit_core/dialect/statements.py",
    "core/reknit_core/dialect/protocols/mqtt.py",
    "core/reknit_core/dialect/protocols/nats.py",
    "core/reknit_core/dialect/protocols/nats_lines.py",
    "core/reknit_core/dialect/protocols/packets.py",
    "core/reknit_core/dialect/protocols/stomp.py",
    "core/reknit_core/dialect/protocols/stomp_frames.py",
    "core/reknit_core/dialect/ruled/glance.py",
    "core/reknit_core/dialect/ruled/patterns.py",
    "core/reknit_core/dialect/ruled/rules.py",
    "core/reknit_core/durable/journal.py",
    "core/reknit_core/leg/bounds.py",
    "core/reknit_core/leg/dialling.py",
    "core/reknit_core/leg/dialogue.py",
    "core/reknit_core/leg/lane.py",
    "core/reknit_core/leg/leg.py",
    "core/reknit_core/leg/legs.py",
    "core/reknit_core/leg/probe.py",
    "core/reknit_core/leg/retry.py",
    "core/reknit_core/policy/forwarded.py",
    "core/reknit_core/proxy/admission.py",
    "core/reknit_core/proxy/contexts.py",
    "core/reknit_core/proxy/plain_request.py",
    "core/reknit_core/queue/backlog.py",
    "core/reknit_core/queue/budget.py",
    "core/reknit_core/queue/stream.py",
    "core/reknit_core/session/context.py",
    "core/reknit_core/session/course.py",
    "core/reknit_core/session/ending.py",
    "core/reknit_core/session/surroundings.py",
    "core/reknit_core/session/telling.py",
    "core/reknit_core/session/waiting_room.py",
    "core/reknit_core/telemetry/losses.py",
    "core/reknit_core/telemetry/server_outage.py",
    "core/reknit_core/telemetry/teller.py",
    "core/reknit_core/terms/binding.py",
    "core/reknit_core/terms/claim.py",
    "core/reknit_core/terms/habits.py",
    "core/reknit_core/terms/pinned.py",
    "core/reknit_core/wire/controls.py",
    "core/reknit_core/wire/deflate.py",
    "core/reknit_core/wire/frames.py",
    "core/reknit_core/wire/handshake.py",
    "core/reknit_core/wire/headers.py",
    "core/reknit_core/wire/heads/ambiguity.py",
    "core/reknit_core/wire/heads/outcomes.py",
    "core/reknit_core/wire/heads/shortcut.py",
    "core/reknit_core/wire/inband.py",
    "core/reknit_core/wire/messages.py",
    "core/reknit_core/wire/reasons.py",
    "adapters/reknit/observe/logs.py",
    "adapters/reknit/observe/outlet.py",
    "adapters/reknit/observe/reports.py",
    "adapters/reknit/sockets/randomness.py",
    "adapters/reknit/sockets/stream_socket.py",
    "adapters/reknit/trio/links.py",
    "adapters/reknit/trio/proxy.py",
    "adapters/reknit/trio/reactor.py",
    "adapters/reknit/trio/sessions.py",
    "adapters/reknit/trio/telling.py",
    "adapters/reknit/trio/watched.py",
    "adapters/reknit/trio/cluster/callers.py",
    "adapters/reknit/trio/cluster/calls.py",
    "adapters/reknit/trio/cluster/searches.py",
    "adapters/reknit/trio/door/colleagues.py",
    "adapters/reknit/trio/door/inboxes.py",
    "adapters/reknit/trio/door/leaving.py",
    "adapters/reknit/trio/door/listener.py",
    "adapters/reknit/trio/door/newcomer.py",
    "adapters/reknit/trio/door/newcomers.py",
    "adapters/reknit/trio/door/passing.py",
    "adapters/reknit/trio/door/pump.py",
    "adapters/reknit/trio/transport/checks.py",
    "adapters/reknit/trio/transport/dialler.py",
)


class CompileHook(BuildHookInterface[Any]):
    """Adds compiled modules to a wheel."""

    def dependencies(self) -> list[str]:
        """What compiling needs beside hatchling: the types of what is imported, too."""
        if not _wanted():
            return []
        return ["mypy>=1.15", "setuptools", *self.metadata.core.dependencies]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, unless the wheel is to be pure Python or an editable one."""
        if not _wanted() or version == "editable":
            return
        self._output = Path(tempfile.mkdtemp())
        for library in _compile(Path(self.root), self._output):
            build_data["force_include"][str(library)] = str(library.relative_to(self._output))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was built on the way."""
        if hasattr(self, "_output"):
            shutil.rmtree(self._output)


def _wanted() -> bool:
    return os.environ.get("REKNIT_COMPILE", "") not in ("", "0")


def _compile(root: Path, output: Path) -> list[Path]:
    from mypyc.build import mypycify
    from setuptools import Distribution

    here = Path.cwd()
    os.chdir(root)
    try:
        extensions = mypycify(list(MODULES), opt_level="3", target_dir=str(output / "c"))
        distribution = Distribution({"name": "reknit", "ext_modules": extensions})
        command = distribution.get_command_obj("build_ext")
        command.build_lib = str(output)  # type: ignore[attr-defined]
        command.build_temp = str(output / "o")  # type: ignore[attr-defined]
        command.ensure_finalized()
        command.run()
    finally:
        os.chdir(here)
    return list(output.rglob("*.so"))
