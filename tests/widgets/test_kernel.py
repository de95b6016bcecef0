"""A widget with a kernel: what the reader does reaches Python, and what Python sets reaches the reader."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

SECONDS = 60  # a kernel that imports PyTorch on a busy machine takes a while
SETUP = """
import torch
from ipywidgets import FloatSlider, HBox, jslink
from vaelib.models import mlp_vae
from vaelib.widgets import LatentPad

pad = LatentPad(mlp_vae(hidden_dim=4, generator=torch.Generator().manual_seed(0)))
seen = []
pad.observe(lambda change: seen.append(change["new"]), "z")
pad
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[BlockingKernelClient]:
    manager, client = start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client: BlockingKernelClient, code: str) -> list[dict[str, Any]]:
    """Run code and return all that the kernel published for it."""
    published: list[dict[str, Any]] = []
    reply = client.execute_interactive(code, output_hook=published.append, timeout=SECONDS)
    assert reply["content"]["status"] == "ok", reply["content"]
    return published


def printed(client: BlockingKernelClient, expression: str) -> str:
    return "".join(m["content"].get("text", "") for m in run(client, f"print({expression})"))


@pytest.fixture(scope="module")
def pad(kernel: BlockingKernelClient) -> dict[str, Any]:
    """The message that opened the pad's side of the conversation, with its view in the cell's output."""
    messages = run(kernel, SETUP)
    [opened] = [
        m["content"]
        for m in messages
        if m["msg_type"] == "comm_open" and m["content"]["data"]["state"].get("_esm")
    ]
    [shown] = [m["content"]["data"] for m in messages if m["msg_type"] == "execute_result"]
    view = shown["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == opened["comm_id"]
    return opened


def test_front_end_gets_the_module_and_the_state(pad: dict[str, Any]) -> None:
    state = pad["data"]["state"]
    assert state["z"] == [0.0, 0.0]
    assert "export default" in state["_esm"]
    assert "import " not in state["_esm"].split("export default")[0], "text cannot import its neighbours"


def test_python_reads_where_the_reader_left_the_point(
    kernel: BlockingKernelClient, pad: dict[str, Any]
) -> None:
    content = {
        "comm_id": pad["comm_id"],
        "data": {"method": "update", "state": {"z": [1.5, -2]}, "buffer_paths": []},
    }
    kernel.shell_channel.send(kernel.session.msg("comm_msg", content))
    ends = time.monotonic() + SECONDS
    while printed(kernel, "pad.z").strip() != "[1.5, -2.0]":
        assert time.monotonic() < ends, "the message did not arrive"
    assert printed(kernel, "seen[-1]").strip() == "[1.5, -2.0]", "and observers are told"


def test_setting_a_trait_in_python_is_sent_to_every_view(
    kernel: BlockingKernelClient, pad: dict[str, Any]
) -> None:
    messages = run(kernel, "pad.z = [0.25, 0.5]")
    updates = [m["content"] for m in messages if m["msg_type"] == "comm_msg"]
    assert {"method": "update", "state": {"z": [0.25, 0.5]}, "buffer_paths": []} in [
        u["data"] for u in updates if u["comm_id"] == pad["comm_id"]
    ]


def test_pad_is_an_ordinary_ipywidget(kernel: BlockingKernelClient, pad: dict[str, Any]) -> None:  # noqa: ARG001
    code = "slider = FloatSlider(max=1); jslink((pad, 't'), (slider, 'value')); box = HBox([pad, slider])"
    run(kernel, code)
    assert printed(kernel, "len(box.children)").strip() == "2"
