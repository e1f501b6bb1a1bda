"""What people look at and type: pictures, the command line, the demonstration."""
