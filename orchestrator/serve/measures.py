"""What a server counts, as Prometheus reads it."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30)
MEDIA_TYPE = CONTENT_TYPE_LATEST


class ServerMetrics:
    """Counters of one server. Memory and processor time are included if the system reports them."""

    def __init__(self, places: int) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"kgtts_{name}", about, labels, registry=self._registry)

        self.requests = counter(
            "requests", "Requests for speech or text, by how they ended.", "path", "status"
        )
        self.characters = counter("characters", "Characters of the texts that were spoken.", "voice")
        self.speech = counter("speech_seconds", "Seconds of sound that were made.", "voice")
        self.work = counter("synthesis_seconds", "Seconds that the voice took for them.", "voice")
        self.gone = counter("clients_gone", "Clients that left before their speech was complete.")
        self.first_sound = Histogram(
            "kgtts_first_sound_seconds",
            "From the request to its first sound.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.busy = Gauge("kgtts_places_in_use", "Requests in progress or waiting.", registry=self._registry)
        Gauge("kgtts_places", "How many there can be.", registry=self._registry).set(places)

    def text(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self._registry)
