"""Kaggle through its official client: the only package that knows `kaggle` and `kagglesdk`.

Checked against kaggle 2.2.4 and kagglesdk 0.1.37. `import kaggle` takes a third of a second, authenticates at
once, may print and may call the network, so it happens inside `connect` and nowhere else; `client.py` and
`translation.py` import the SDK at their top and are themselves imported only there.
"""

from orchestrator.kaggle_client.connection import (
    KAGGLE_URL,
    URL_VARIABLE,
    client_version,
    connect,
    run_stock_client,
    service_url,
)

__all__ = ["KAGGLE_URL", "URL_VARIABLE", "client_version", "connect", "run_stock_client", "service_url"]
