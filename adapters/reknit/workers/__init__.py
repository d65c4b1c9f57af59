"""`reknit serve --workers N`: a parent, and the workers that share its clients and sessions."""
