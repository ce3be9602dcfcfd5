"""What ends a run is called by the field that said so."""

from tests.unit.training.runs import make_recipe, make_training


class Stream:
    """Rows that can be iterated again and not counted."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


def test_a_run_that_its_steps_end_says_so(rows, tmp_path):
    result = make_training(rows, tmp_path, make_recipe(max_steps=1)).run()
    assert (result.stopped_by, result.steps) == ("max_steps", 1)


def test_a_run_that_its_epochs_end_says_so(rows, tmp_path):
    made = make_recipe(max_steps=None, epochs=0.2)
    result = make_training(rows, tmp_path, made).run()
    assert (result.stopped_by, result.steps) == ("epochs", 1)


def test_a_stream_that_its_steps_end_says_so(rows, tmp_path):
    made = make_recipe(max_steps=None, stream_steps=1)
    result = make_training(Stream(rows), tmp_path, made).run()
    assert (result.stopped_by, result.steps) == ("stream_steps", 1)
