"""What the Jupyter server does for the panel: it hands over each of a kernel's messages at once.

A kernel answers a hand by several small messages in a row. By default the server's socket holds each until the browser has acknowledged the
one before, which a browser that has nothing to say puts off by up to 40 ms (RFC 896 meeting RFC 1122, 4.2.3.2).
"""

from typing import Any

from jupyter_server.serverapp import ServerApp
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class PromptConnection(ZMQChannelsWebsocketConnection):
    """Jupyter's own connection of a page with a kernel, with TCP_NODELAY."""

    def connect(self) -> Any:
        """Begins to hand messages over; returns what Jupyter's own does."""
        self.websocket_handler.set_nodelay(True)
        return super().connect()


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(app: ServerApp) -> None:
    """Other connections, a gateway's say, stay what they are."""
    settings, key = app.web_app.settings, "kernel_websocket_connection_class"
    if settings[key] is ZMQChannelsWebsocketConnection:
        settings[key] = PromptConnection
