"""One direction's messages: queue, write buffer and replay buffer in one."""
