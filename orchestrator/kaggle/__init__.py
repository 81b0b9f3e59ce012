"""Kaggle through its official client: the only package that knows `kaggle` and `kagglesdk`.

Checked against kaggle 2.2.4 and kagglesdk 0.1.37. The SDK is slow to import, so that happens inside
`connect`; `client.py` and `translation.py` import it at their top and are themselves imported only there.
"""

from orchestrator.kaggle.connection import (
    KAGGLE_URL,
    URL_VARIABLE,
    client_version,
    connect,
    run_stock_client,
    service_url,
)

__all__ = ["KAGGLE_URL", "URL_VARIABLE", "client_version", "connect", "run_stock_client", "service_url"]
