"""What the Jupyter server does for the panel."""

import asyncio
import json
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from jupyter_server.gateway.connections import GatewayWebSocketConnection
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application
from tornado.websocket import WebSocketHandler, websocket_connect

from qa_lib import server_extension
from qa_lib.server_extension import PromptConnection

ROOT = Path(__file__).parent.parent


def no_delays(connection_class):
    """TCP_NODELAY of the socket before a page is connected by ``connection_class``, and once it is."""
    found = []

    class Handler(KernelWebsocketHandler):
        prepare = on_close = lambda self: None  # nobody logs in, there is no kernel
        get = WebSocketHandler.get

        def check_origin(self, origin=None):
            return True

        def select_subprotocol(self, subprotocols):
            return None

        def look(self):
            stream = self.ws_connection.stream
            found.append(stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)

        def open(self):
            self.look()
            connection_class(websocket_handler=self).connect()

        def on_message(self, message):
            self.look()
            self.write_message("heard")

    async def talk():
        server = HTTPServer(Application([("/", Handler)]))
        listening, port = bind_unused_port()
        server.add_socket(listening)
        page = await websocket_connect(f"ws://127.0.0.1:{port}/")
        await page.write_message("moved")
        assert await page.read_message() == "heard"
        page.close()
        assert await page.read_message() is None  # it is closed
        server.stop()
        await server.close_all_connections()

    asyncio.run(talk())
    return found


@pytest.mark.parametrize(
    ("connection_class", "at_once"), [(ZMQChannelsWebsocketConnection, False), (PromptConnection, True)]
)
def test_a_page_is_told_at_once(monkeypatch, connection_class, at_once):
    reached = []
    monkeypatch.setattr(ZMQChannelsWebsocketConnection, "connect", lambda self: reached.append(self))
    assert no_delays(connection_class) == [False, at_once]
    assert len(reached) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ZMQChannelsWebsocketConnection, PromptConnection),
        (GatewayWebSocketConnection, GatewayWebSocketConnection),
    ],
)
def test_the_extension_leaves_other_connections_alone(before, after):
    settings = {"kernel_websocket_connection_class": before}
    (point,) = server_extension._jupyter_server_extension_points()
    extension = import_module(point["module"])
    extension._load_jupyter_server_extension(SimpleNamespace(web_app=SimpleNamespace(settings=settings)))
    assert settings == {"kernel_websocket_connection_class": after}


def test_jupyter_is_told_of_the_extension_and_voila_of_the_connection():
    told = json.loads((ROOT / "notebooks" / "server" / "qa_lib.json").read_text())
    assert told["ServerApp"]["jpserver_extensions"] == {server_extension.__name__: True}
    name = json.loads((ROOT / "notebooks" / "page" / "voila.json").read_text())
    module, _, attribute = name["Voila"]["kernel_websocket_connection_class"].rpartition(".")
    assert getattr(import_module(module), attribute) is PromptConnection


def test_the_server_does_not_wait_for_torch():
    script = "import sys, qa_lib.server_extension; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0
