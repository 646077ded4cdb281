"""The mlx format."""
