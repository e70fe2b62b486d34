"""What the structure promises: who may import whom, and how big things get."""
