"""One session: ContextStateMachine, its two legs, and who may resume it."""
