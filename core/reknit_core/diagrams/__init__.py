"""Pictures of the lifecycle and of scenarios, as text and SVG."""
