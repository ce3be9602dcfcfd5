"""What a micro-batch is planned to hold follows from its speech and from all the text that it reads."""

from whisper_peft.data.batches.audio_contexts import AudioContexts
from whisper_peft.data.batches.batching import MicroBatch
from whisper_peft.data.targets.target_draws import TargetDraws
from whisper_peft.recipe.sections import TargetSection, TrainSection
from whisper_peft.training.planning.workload import load_of
from whisper_peft.types import Utterance

ROW = Utterance("a", b"", "Please wait for the tone.", duration_s=2.0, previous_text="Nobody is here. " * 10)


def load(share):
    contexts = AudioContexts.of(TrainSection(), seed=0)
    draws = TargetDraws(TargetSection(previous_text=share), seed=0)
    return load_of(MicroBatch(0, 0, ((ROW,),)), contexts, draws)


def test_the_text_before_a_window_is_planned_where_it_is_read():
    told, plain = load(1.0), load(0.0)
    assert told.tokens - plain.tokens == 40  # 160 bytes
    assert told.windows == plain.windows
