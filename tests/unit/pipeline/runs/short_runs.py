"""The fields of runs that take seconds."""

SMALL = {
    "model": {"name": "openai/whisper-tiny.en", "device": "cpu"},
    "adapter": {"r": 4, "targets": "attention"},
    "train": {"max_steps": 3, "batch_size": 2, "learning_rate": 1e-3, "workers": 0, "checkpoint_steps": 2},
    "eval": {"max_utterances": 3, "health": "off"},
    "merge": {"clips": 2},
}


def overrides(speech, **sections):
    data = {"source": str(speech), "train": "train", "eval": "test"}
    merged = {**SMALL, "data": data}
    return {name: {**merged.get(name, {}), **sections.get(name, {})} for name in {*merged, *sections}}
