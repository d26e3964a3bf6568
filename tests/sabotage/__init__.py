"""Patches that each break one protection, and the proof that a test notices."""
