from fer_lab.results.rows import Expected
from fer_lab.results.settings import with_settings


def test_keys_are_named_where_the_choice_is_the_same():
    rows = {
        "a": Expected("", {"head": "mlp"}, {"seed": 0, "input_size": 48, "head": {"dropout": 0.4}}),
        "b": Expected("", {"head": "mlp"}, {"seed": 1, "input_size": 48, "head": {"dropout": 0.0, "scale": 2}}),
        "c": Expected("", {"head": "linear"}, {"seed": 0, "input_size": 64, "head": {"dropout": 0.1}}),
    }
    assert with_settings(rows, "a") == {
        "a": {"head": "mlp", "head.dropout": "0.4", "input_size": "48", "head.scale": ""},
        "b": {"head": "mlp", "head.dropout": "0.0", "input_size": "48", "head.scale": "2"},
        "c": {"head": "linear", "head.dropout": "0.1", "input_size": "64", "head.scale": ""},
    }
