"""A TunelabError for people (standard error) or machines (standard output)."""

from __future__ import annotations

from tunelab.cli.output import console, plain, print_json
from tunelab.cli.show.findings import show_findings
from tunelab.errors import ConfigError, TunelabError


def show_failure(error: TunelabError, *, as_json: bool) -> None:
    """Say what went wrong, where, and what to do next."""
    findings = error.findings if isinstance(error, ConfigError) else ()
    if as_json:
        print_json({"error": {"kind": type(error).__name__, "message": error.message, "where": error.where, "next_step": error.next_step,
                              "findings": findings}})
        return
    out = console(to_stderr=True)
    if findings:
        show_findings(out, error.where or "", findings)
    place = f"{plain(error.where)}: " if error.where else ""
    out.print(f"error: {place}{plain(error.message)}", style="bold red")
    if error.next_step:
        out.print(f"  next: {plain(error.next_step)}")
