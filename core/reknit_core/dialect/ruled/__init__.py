"""Dialects that are data: rules over JSON messages, as TOML files give them."""
