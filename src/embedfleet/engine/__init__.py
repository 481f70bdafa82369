"""One model on one device, behind the HTTP API of TEI."""
