"""The `tunelab` command: its verbs, and the one place that renders errors."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tunelab import __version__
from tunelab.cli import compare, configs, doctor, export, hub, judge, lab, pairs, parity, report, runs, train
from tunelab.errors import TunelabError

app = typer.Typer(
    name="tunelab", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From one YAML to a verdict: read a fine-tuning config, run it, and see what it changed.",
    epilog="Start here: `tunelab lab`, then `tunelab explain lab/lab.yml`.",
)
configs.add_to(app)
train.add_to(app)
doctor.add_to(app)
runs.add_to(app)
hub.add_to(app)
compare.add_to(app)
pairs.add_to(app)
judge.add_to(app)
parity.add_to(app)
export.add_to(app)
report.add_to(app)
lab.add_to(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tunelab {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    pass


def main() -> None:
    """Run the command line. A TunelabError becomes a sentence and its exit code; any other exception is our bug and keeps its traceback."""
    try:
        app()
    except TunelabError as error:
        from tunelab.cli.show.failure import show_failure

        show_failure(error, as_json="--json" in sys.argv)
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:  # the reader of a pipe went away: `tunelab check x | head`
        sys.stderr.close()
        raise SystemExit(0) from None


if __name__ == "__main__":
    main()
