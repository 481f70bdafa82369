"""The environment variables that Kubernetes sets in a pod."""


def of_service(name: str, protocol: str = "tcp", port: int = 8001) -> dict[str, str]:
    """The variables for a service of the pod's namespace."""
    url = f"{protocol}://10.0.0.7:{port}"
    at = f"{name}_PORT_{port}_{protocol.upper()}"
    return {
        f"{name}_SERVICE_HOST": "10.0.0.7",
        f"{name}_SERVICE_PORT": str(port),
        f"{name}_SERVICE_PORT_HTTP_METRICS": str(port),
        f"{name}_PORT": url,
        at: url,
        f"{at}_PROTO": protocol,
        f"{at}_PORT": str(port),
        f"{at}_ADDR": "10.0.0.7",
    }
