"""What is fast is measured here, as ratios in one run; see README.md."""
