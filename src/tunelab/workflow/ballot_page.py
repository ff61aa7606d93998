"""The page for a blind vote: one pair at a time, on loopback only, every request's Host and Origin checked, every text escaped."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tunelab.errors import TunelabError, UsageError
from tunelab.report.html import page
from tunelab.workflow.judge import ballots, result, vote

_MOST = 10_000
"""Bytes of a request's body that are read."""


def make_server(comparison: Path, person: str, port: int = 0) -> ThreadingHTTPServer:
    """A server that is not running yet; its address is 127.0.0.1. Raises UsageError when the port is taken, FolderError for no comparison."""
    ballots(comparison, person)  # what is wrong is said before a page is opened
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), _handler(comparison, person, secrets.token_urlsafe(16)))
    except OSError as error:
        raise UsageError(f"Port {port} cannot be used: {error.strerror or error}.", next_step="Take another: --port 0") from error


def serve(comparison: Path, person: str, port: int, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C. `say` is told the address."""
    server = make_server(comparison, person, port)
    say(f"http://127.0.0.1:{server.server_address[1]}/")
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


def _handler(comparison: Path, person: str, token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing: votes are the person's."""

        def do_GET(self) -> None:
            if self._allowed() and urlsplit(self.path).path == "/":
                self._show()
            elif self._allowed():
                self._send(404, "There is no such page.")

        def do_POST(self) -> None:
            if not self._allowed():
                return
            length = int(self.headers.get("Content-Length") or 0)
            if length > _MOST:
                self._send(413, "That is too much.")
                return
            form = {key: values[0] for key, values in parse_qs(self.rfile.read(length).decode("utf-8", "replace")).items()}
            open_ones = {one.prompt_id: one for one in ballots(comparison, person)}
            ballot, said = open_ones.get(form.get("prompt", "")), form.get("said", "")
            if not secrets.compare_digest(form.get("token", ""), token):
                self._send(403, "This form is not of this page.")
                return
            try:
                if ballot is not None and said in ("1", "2", "tie"):
                    vote(comparison, ballot, said, person)
            except TunelabError as error:
                self._send(500, str(error))
                return
            self.send_response(303)
            self.send_header("Location", "/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _allowed(self) -> bool:
            """Only this address, and no page of another origin. A refusal is sent here."""
            port = self.connection.getsockname()[1]
            here = {f"127.0.0.1:{port}", f"localhost:{port}"}
            origin = self.headers.get("Origin")
            if self.headers.get("Host") in here and (origin is None or urlsplit(origin).netloc in here):
                return True
            self._send(403, "This page answers its own address only.")
            return False

        def _show(self) -> None:
            left = ballots(comparison, person)
            verdicts = [one for one in result(comparison) if one.by == person] if not left else []
            values = {"ballot": left[0] if left else None, "left": len(left), "token": token, "verdicts": verdicts}
            self._send(200, page("ballot.html.j2", values), "text/html")

        def _send(self, status: int, text: str, kind: str = "text/plain") -> None:
            content = text.encode("utf-8", "replace")
            self.send_response(status)
            for key, value in {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(content)), "Cache-Control": "no-store",
                               "X-Frame-Options": "DENY", "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
                               "Referrer-Policy": "same-origin"}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

    return Handler
