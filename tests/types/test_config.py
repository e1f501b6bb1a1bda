"""Options of the environment."""

import pytest

from graphc.types import config
from graphc.types.errors import ConfigError


@pytest.mark.parametrize(
    "text, value",
    [
        *((t, True) for t in ("1", "true", "True", "YES", "on", "2")),
        *((f, False) for f in ("0", "false", "no", "Off", "")),
    ],
)
def test_a_boolean_of_the_environment(text, value, monkeypatch):
    monkeypatch.setenv("GRAPHC_CHECK", text)
    assert config._from_environment().check is value


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("GRAPHC_CHECK", "maybe", "GRAPHC_CHECK='maybe' is not one of 0, 1, false"),
        ("GRAPHC_NUM_THREADS", "two", "GRAPHC_NUM_THREADS='two' is not an integer"),
        ("GRAPHC_NUM_THREADS", "true", "is not an integer"),
        ("GRAPHC_NUM_THREADS", "-1", "is negative"),
        ("GRAPHC_NUM_THREADS", str(2**70), "is more than"),
    ],
)
def test_what_a_variable_cannot_be(name, text, message, monkeypatch):
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=message):
        config._from_environment()


def test_a_block_that_fails_leaves_no_option_behind():
    before = config.options()
    with pytest.raises(ConfigError), config.config(threads=2), config.config(no=1):
        pass
    assert config.options() == before
