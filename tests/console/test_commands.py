"""The program has every command, each by the name of its module."""

from entries import ENTRIES

from console.commands import COMMANDS


def test_every_command_is_there_and_is_called_as_its_module() -> None:
    assert set(COMMANDS.values()) == set(ENTRIES)
    for name, module in COMMANDS.items():
        room, _, last = module.partition(".")
        assert name == (room if last == "__main__" else last.replace("_", "-"))
