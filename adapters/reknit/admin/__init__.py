"""The admin listener: what the proxy is doing, told and steered over HTTP.

`listener.py` binds and puts it together; `server.py` speaks HTTP/1.1, `guard.py` says who may
ask, `router.py` who answers; the other modules answer.
"""
