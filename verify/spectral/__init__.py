"""What only the whole spectral algorithm needs: its tasks, its theorem, its command."""
