"""The forms of the pages: what may be typed. Rules about it are in the services."""
