"""A page in headless Chromium, served from this process; it sends its result back here."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_TYPES = {".html": "text/html", ".js": "text/javascript"}


def find_chromium() -> str | None:
    """The browser's program: $CHROMIUM, or one on the path."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


class _Handler(BaseHTTPRequestHandler):
    server: "PageServer"

    def do_GET(self) -> None:
        file = self.server.files.get(self.path.partition("?")[0][1:])
        self.send_response(404 if file is None else 200)
        if file is not None:
            self.send_header("content-type", _TYPES[file.suffix])
        self.end_headers()
        if file is not None:
            self.wfile.write(file.read_bytes())

    def do_POST(self) -> None:
        self.server.results.put(self.rfile.read(int(self.headers["content-length"])).decode())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class PageServer(ThreadingHTTPServer):
    """Serves these files at `url`, and puts what is posted into `results`."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {file.name: file for file in files}
        self.results: Queue[str] = Queue()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


@contextmanager
def page_server(*files: Path) -> Iterator[PageServer]:
    """Serve for as long as this lasts."""
    with PageServer(files) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
