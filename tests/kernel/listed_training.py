"""The toy training over samples like Coqui's: recordings and texts, from `listed.json` beside its config."""

import json
from dataclasses import dataclass, field
from typing import Any

from trainer import Trainer

from tests.kernel.listed_letters import Letters
from tests.kernel.toy_training import Toy, ToyConfig, prepared


@dataclass
class ListedConfig(ToyConfig):
    """The toy's configuration with VITS's audio settings."""

    model: str = "vits"
    audio: dict[str, Any] = field(default_factory=lambda: {"sample_rate": 22050})


class Listed(Toy):
    """A toy that is trained on the numbers of its samples."""

    tokenizer = Letters()

    def get_data_loader(self, config: ToyConfig, *, is_eval: bool, samples: Any, verbose: bool) -> Any:
        """Load only the samples that are left."""
        numbers = [sample["number"] for sample in samples]
        return super().get_data_loader(config, is_eval=is_eval, samples=numbers, verbose=verbose)


def main() -> None:
    """Train."""
    config = ListedConfig()
    arguments, place = prepared(config)
    samples = json.loads(place.with_name("listed.json").read_text(encoding="utf-8"))
    trainer = Trainer(
        arguments,
        config,
        config.output_path,
        model=Listed(config),
        train_samples=samples["train"],
        eval_samples=samples["eval"],
        parse_command_line_args=False,
    )
    trainer.fit()
    print("SCRIPT WENT ON", flush=True)  # noqa: T201 - the test reads it.


if __name__ == "__main__":
    main()
