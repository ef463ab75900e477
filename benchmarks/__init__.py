"""What is fast, measured as whole processes and printed. Nothing here asserts: a slow machine is no defect."""
