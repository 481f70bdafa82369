"""What the operating system allows and reports, for every plane."""
