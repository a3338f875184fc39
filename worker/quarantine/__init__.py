"""What people do with what was set aside."""
