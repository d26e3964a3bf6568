"""The backup engine: bytes, keys and restore points. It knows no web, no SQL, no environment and no clock."""
