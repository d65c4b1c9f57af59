"""`--cluster`: sessions that outlive their machine, in the streams of Redis or Valkey."""
