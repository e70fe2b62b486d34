"""Taking the guards out one by one: the list of them, and how one is tried."""
