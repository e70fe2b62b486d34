"""End every session of an app: ``python scripts/kill_all.py APP [--reason TEXT] [--yes]``."""

from sessionclient.cli.kill_all import kill_all

if __name__ == "__main__":
    kill_all(prog_name="kill_all.py")
