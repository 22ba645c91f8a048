"""Many runs that belong together: draws and learning curves."""
