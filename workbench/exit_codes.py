"""Exit codes of every command: done, done but for some items, wrong use or input."""

DONE, SOME_FAILED, WRONG_USE = 0, 1, 2
