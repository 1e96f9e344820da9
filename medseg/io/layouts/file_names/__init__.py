"""What the names of files and folders say: cases, channels, images, labels."""
