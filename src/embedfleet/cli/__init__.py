"""The command line, which joins the engine, the gateway and the control plane."""
