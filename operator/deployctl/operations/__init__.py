"""What deployctl does, for the command line, the controller and any program. Prints nothing."""
