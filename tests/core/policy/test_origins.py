"""Which Origin headers are let in."""

import pytest
from reknit_core.policy.origins import Origins


@pytest.mark.parametrize(
    ("allowed", "origin", "let_in"),
    [
        # Nothing named: everything; no Origin: no browser.
        ("", "https://evil.example", True),
        ("", "null", True),
        ("", None, True),
        ("https://a.org", None, True),
        # An exact origin.
        ("https://a.org", "https://a.org", True),
        ("https://a.org", "HTTPS://A.ORG", True),
        ("HTTPS://A.org", "https://a.org", True),
        ("https://a.org", "https://a.org:443", True),
        ("https://a.org:443", "https://a.org", True),
        ("http://a.org:80", "http://a.org", True),
        ("https://a.org:8443", "https://a.org:8443", True),
        ("https://[::1]:8443", "https://[::1]:8443", True),
        ("chrome-extension://abc", "chrome-extension://abc", True),
        ("https://a.org", "http://a.org", False),
        ("https://a.org", "https://a.org:8443", False),
        ("https://a.org:8443", "https://a.org", False),
        ("https://a.org", "https://sub.a.org", False),
        ("https://a.org", "https://a.org.evil.example", False),
        ("https://a.org", "https://evila.org", False),
        ("https://a.org", "https://a.org.", False),
        ("https://a.org", "https://aXorg", False),
        # A host: http and https, each at its own port.
        ("a.org", "https://a.org", True),
        ("a.org", "http://a.org", True),
        ("a.org", "http://a.org:443", False),
        ("a.org", "ftp://a.org", False),
        ("localhost:3000", "http://localhost:3000", True),
        ("localhost:3000", "http://localhost", False),
        ("localhost:*", "http://localhost:3000", True),
        ("localhost:*", "https://localhost", True),
        ("localhost:*", "http://localhost.evil.example:1", False),
        # Its subdomains, not itself.
        ("*.a.org", "https://x.a.org", True),
        ("*.a.org", "https://y.x.a.org", True),
        ("*.a.org", "https://a.org", False),
        ("*.a.org", "https://.a.org", False),
        ("*.a.org", "https://xa.org", False),
        ("*.a.org", "https://x.a.org:8443", False),
        ("*.a.org", "https://evil.example?.a.org", False),
        ("*.a.org", "https://evil.example/.a.org", False),
        ("*.a.org", "https://evil.example#.a.org", False),
        ("*.a.org", "https://evil.example:1@x.a.org", False),
        ("https://*.a.org:8443", "https://x.a.org:8443", True),
        ("https://*.a.org:8443", "http://x.a.org:8443", False),
        # What is no origin, and `null`, which many pages can make themselves have.
        ("a.org", "null", False),
        ("null", "null", True),
        ("null", "NULL", False),
        ("null", "https://a.org", False),
        ("a.org", "", False),
        ("a.org", "a.org", False),
        ("a.org", "https://a.org https://a.org", False),
        ("a.org", "https://a.org\n", False),
        ("a.org", "https://a.org/", False),
        # One of several.
        ("a.org,*.b.org,null", "https://x.b.org", True),
        ("a.org,*.b.org,null", "null", True),
        ("a.org,*.b.org,null", "https://b.org", False),
    ],
)
def test_origins(allowed: str, origin: str | None, let_in: bool) -> None:
    origins = Origins(frozenset(allowed.split(",")) if allowed else frozenset())
    assert origins.allow(origin) is let_in
