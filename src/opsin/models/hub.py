"""timm's pretrained weights from the Hugging Face hub: safetensors only, asked for by name.

The hub's own client does the work: cache (`HF_HOME`), resume, and the offline switch
`HF_HUB_OFFLINE=1`; `HF_ENDPOINT` names another server.
"""

from __future__ import annotations

from pathlib import Path

from opsin.core.errors import WrongUsage
from opsin.core.extras import require
from opsin.models.timm_adapter import PREFIX, timm_config

FILE = "model.safetensors"


def download_weights(name: str) -> Path:
    """The file with the pretrained weights of `timm:name`, downloaded unless it is in the cache.

    Raises `WrongUsage` when timm knows none, or the hub cannot be reached.
    """
    repository = timm_config(name).get("hf_hub_id")
    if not repository:
        raise WrongUsage(
            f"{PREFIX}{name} has no pretrained weights on the hub",
            code="no_weights",
            where="pretrained",
            fix="give a file with --weights",
        )
    hub = require("huggingface_hub", purpose="--pretrained")
    try:
        return Path(hub.hf_hub_download(repository, FILE, etag_timeout=10))
    except Exception as error:  # the client raises classes of its own, of httpx and of the system
        raise WrongUsage(
            f"the weights of {PREFIX}{name} cannot be downloaded: {str(error).splitlines()[0]}",
            code="no_network",
            where="pretrained",
            fix="look at the network, or give a file with --weights FILE.safetensors",
        ) from error
