"""The live monitor: ``python -m monitor`` serves it, `MonitorDashboard` puts it into other apps."""
