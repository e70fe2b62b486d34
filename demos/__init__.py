"""Demo apps that show Panelbus at work; `python -m demos` serves them."""
