"""The class of transformers that a model is run in: the one that it was trained in, or none."""

from typing import Any

from msgspec import Struct

from tagship.system.errors import ReleaseError
from tagship.verify.runtimes.protocol import Subject
from tagship.weights.lora import modules_of, read_weights


class KnownClass(Struct, frozen=True, kw_only=True):
    """A class of transformers, and the configuration that it takes: of a model that sees, that of its text alone, for a
    class of text alone."""

    model: Any
    config: Any

    def empty(self) -> Any:
        """The model without weights."""
        import torch

        with torch.device("meta"):
            return self.model(self.config)


def class_of(subject: Subject) -> KnownClass:
    """What to run a model in: the class that its configuration names, or the one for text alone; with an adapter, the
    one of the two that has all modules that were trained. Raises ReleaseError."""
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(subject.model, trust_remote_code=subject.trust_remote_code)
        classes = _classes_for(config, _own_classes(config, subject) if subject.trust_remote_code else [])
    except Exception as error:
        if subject.trust_remote_code:  # whatever that code raises
            raise ReleaseError(
                f"the own code of the base model of {subject.what} cannot be run: {error!r}",
                remedy="install what it imports; transformers 5 may be newer than the code is",
            ) from error
        if not isinstance(error, ValueError):
            raise
        own_code = "trust_remote_code" in str(error)
        problem = "only code in its own repository does, which is not run" if own_code else str(error).split("\n")[0]
        raise ReleaseError(
            f"transformers {transformers.__version__} does not know the model of {subject.what}: {problem}",
            remedy="update transformers, if a newer version knows it",
        ) from None
    trained = modules_of(read_weights(subject.adapter)) if subject.adapter else ()
    lacking = {}
    for known in classes:
        modules = {name for name, _ in known.empty().named_modules()} if trained else ()
        missing = [module for module in trained if module not in modules]
        if not missing:
            return known
        lacking[known.model.__name__] = missing[0]
    listed = "; ".join(f"{name} has no {module}" for name, module in lacking.items())
    raise ReleaseError(
        f"{subject.what} cannot be run in the class that it was trained in: {listed or 'transformers has none for it'}",
        remedy="name the base model that the adapter was trained on with --base, or update transformers",
    )


def try_class(known: KnownClass) -> None:
    """Run a model without weights. What depends on numbers cannot be run so, and is passed over; what is wrong in the
    class itself shows. Raises ReleaseError."""
    import torch
    import transformers

    model = known.empty().eval()
    try:
        with torch.device("meta"), torch.inference_mode():
            model(input_ids=torch.ones((1, 2), dtype=torch.long))
    except (AttributeError, TypeError, NameError) as error:
        raise ReleaseError(
            f"transformers {transformers.__version__} cannot run {known.model.__name__} with text alone: {error}",
            remedy="install a version of transformers that can",
        ) from error
    except Exception:  # noqa: BLE001, S110  (numbers that are not there)
        pass


def _own_classes(config: Any, subject: Subject) -> list[Any]:
    """The classes of the base's own code, which is imported, and so run, for it."""
    from transformers.dynamic_module_utils import get_class_from_dynamic_module
    from transformers.models.auto.auto_factory import add_generation_mixin_to_remote_model

    mapped = getattr(config, "auto_map", None) or {}
    found = [name for loader, name in mapped.items() if loader.startswith("AutoModelFor")]
    found = found or [name for loader, name in mapped.items() if loader == "AutoModel"]
    classes = [get_class_from_dynamic_module(name, subject.model) for name in found]
    return [add_generation_mixin_to_remote_model(known) for known in classes]


def _classes_for(config: Any, own: list[Any]) -> list[KnownClass]:
    """Those that write text: of the base's own code, the one that the configuration names, then transformers' own for
    text alone."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    text, table = config.get_text_config(), MODEL_FOR_CAUSAL_LM_MAPPING
    named = [getattr(transformers, name, None) for name in config.architectures or ()]
    listed = [table[type(part)] for part in (config, text) if type(part) in table]
    classes = [known for known in dict.fromkeys((*own, *named, *listed)) if known is not None and known.can_generate()]
    return [KnownClass(model=known, config=text if known.config_class is type(text) else config) for known in classes]
