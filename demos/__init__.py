"""Demo apps that show Panelbus at work."""
