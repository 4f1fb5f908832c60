"""What looks for things in pictures, one file each."""
