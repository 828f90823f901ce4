"""What goes wrong: one scenario a module, with `TITLE` and `play(operator) -> claims`."""
