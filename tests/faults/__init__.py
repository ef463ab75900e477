"""What must not break it: each fault that a test here brings about ends in one stated outcome (docs/faults.md)."""
