"""What the page is told about the server: its model, what that can do, and where masks come from."""

from dataclasses import dataclass, field
from typing import Any

from v2v.app.access import Limits
from v2v.app.model_choice import Adapters, read_adapter
from v2v.errors import InputError
from v2v.language.abilities import Abilities
from v2v.pipeline.instruction import plan_instruction, title_of
from v2v.video.segmentation.registry import MASK_SOURCES


@dataclass(frozen=True)
class PageInfo:
    """The model behind a server, as far as a page needs it.

    Attributes:
      model: its name.
      abilities: what it can do; None where that isn't known, as of models that read any sentence.
      steps: its own number of sampling steps; 0 where that isn't known.
      others: names of other models that jobs may choose.
      adapters: files of adapters that jobs may choose, by name.
    """

    model: str
    abilities: Abilities | None = None
    steps: int = 0
    others: tuple[str, ...] = ()
    adapters: Adapters = field(default_factory=dict)

    def describe(self, limits: Limits) -> dict[str, Any]:
        """Return what the HTTP interface tells."""
        looks = []
        if self.abilities is not None:
            looks = [
                {"title": title_of(name), "say": self.abilities.looks[name].say}
                for name in self.abilities.able_looks
            ]
        return {
            "model": self.model,
            "looks": looks,
            "steps": self.steps,
            "models": [self.model, *self.others],
            "adapters": list(self.adapters),
            "masks": [
                {"name": name, "summary": info.summary, "argument": info.argument, "extra": info.extra}
                for name, info in MASK_SOURCES.items()
            ],
            "limits": {
                "upload_bytes": limits.upload_bytes, "seconds": limits.seconds, "frames": limits.frames, "keep_seconds": limits.keep_seconds,
            },
        }  # fmt: skip

    def take_choice(self, texts: dict[str, str]) -> dict[str, str]:
        """Take a form's choice of model and adapter out of its texts; return what differs from what jobs get without one.

        Raises:
          InputError: none of those that are offered.
        """
        model, adapter = texts.pop("model", self.model), texts.pop("lora", "")
        if model not in (self.model, *self.others):
            names = " and ".join((self.model, *self.others))
            raise InputError(f"model: this server has {names}; leave it out, or name one")
        if adapter:
            read_adapter(adapter, self.adapters)
        choice = {"model": model} if model != self.model else {}
        return choice | ({"lora": adapter} if adapter else {})

    def plan(self, sentence: str, has_mask: bool, has_text_mask: bool, has_reference: bool) -> list[str]:
        """Return what the model will be given for a sentence, one text an edit; empty where that is the sentence as typed.

        Raises:
          InputError: it isn't understood, or is something that the model can't do.
        """
        steps = plan_instruction(
            sentence,
            self.abilities,
            has_mask=has_mask,
            has_text_mask=has_text_mask,
            has_reference=has_reference,
        )
        return [str(step) for step in steps] if any(step.title for step in steps) else []
