"""Tests about the tree itself: sizes, layers, forbidden calls, documents, and the rules of the tests."""
