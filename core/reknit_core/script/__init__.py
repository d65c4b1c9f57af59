"""The text form of events, commands and states: scenarios and traces."""
