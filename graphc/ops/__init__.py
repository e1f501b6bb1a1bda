"""Every op, one declaration each; importing a module here registers its ops."""
