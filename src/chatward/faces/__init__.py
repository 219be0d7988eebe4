"""What people and programs touch: command line and web page."""
