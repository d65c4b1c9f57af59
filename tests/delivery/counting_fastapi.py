"""FastAPI behind CountReceived: writes each number down. `python counting_fastapi.py PORT FILE`."""

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from journal import Journal, read_journal
from reknit.count import CountReceived

port, path = int(sys.argv[1]), Path(sys.argv[2])
journal = Journal(path)
app = FastAPI()


@app.websocket("/")
async def take(websocket: WebSocket) -> None:
    """What is received is handled for good before the next is asked for."""
    await websocket.accept()
    try:
        while True:
            journal.append(int(await websocket.receive_text()))
    except WebSocketDisconnect:
        pass


app.add_middleware(CountReceived, handled=lambda _: len(read_journal(path)))
uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical")
