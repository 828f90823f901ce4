"""What people do with the life cycle from the command line: one module a command."""
