"""Images and volumes on disk in, masks and pictures on disk out."""
