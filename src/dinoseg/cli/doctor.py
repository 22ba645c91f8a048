"""`dinoseg doctor`: what this machine has, and what would go wrong before it does."""

from __future__ import annotations

from typing import Annotated

import typer

from dinoseg.cli.options import Debug, Json
from dinoseg.cli.output import FAILED, session

MARKS = {"ok": "ok", "note": "note", "problem": "PROBLEM"}


def doctor(
    network: Annotated[
        bool, typer.Option("--network", help="Ask the weights' hub whether it can be reached.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check packages, processor, folders and disk.

    The exit code is 1 if something is broken.

    Example: dinoseg doctor
    """
    with session(as_json=as_json, debug=debug) as output:
        output.begin("examining this installation")
        from dinoseg.cli.findings import examine

        findings = examine(network=network)
        problems = [finding for finding in findings if finding.state == "problem"]
        output.facts = {"findings": findings, "problems": len(problems)}
        rows = [(MARKS[finding.state], finding.subject, finding.text) for finding in findings]
        output.table(("", "what", "found"), rows)
        for finding in problems:
            output.line(f"{finding.subject}: {finding.fix}")
        output.line(f"{len(problems)} problems" if problems else "everything that was looked at is fine")
        output.exit_code = FAILED if problems else 0
