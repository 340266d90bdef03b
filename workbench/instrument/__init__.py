"""The server's side of the instrument: routes over pure functions on arrays of segments."""
