"""Plotly's script, which is the page's charting library (MIT), from the package `plotly`."""

import re

from orchestrator.errors import LocalError

_END = re.compile(r"</(?=script)", re.IGNORECASE)


def chart_script() -> str:
    """plotly.js as it can stand within a page: 4.8 MB.

    The package is asked for here, as importing it takes a sixth of a second and nothing else needs it.

    Raises:
        LocalError: the package is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs  # noqa: PLC0415  # As said above.
    except ImportError as error:
        raise LocalError(
            f"A report's charts need the package plotly, which is not here ({error}).",
            hint="pip install 'kgtts[report]'",
        ) from error
    return _END.sub(r"<\/", get_plotlyjs())
