"""The door of the command line: click commands call services and turn their answers into text. Imports are lazy."""
