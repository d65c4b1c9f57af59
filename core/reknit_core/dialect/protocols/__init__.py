"""Dialects that are code: one protocol each, with what reads its bytes."""
