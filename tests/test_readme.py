"""The README's code runs and prints what it says."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_code_blocks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) >= 4
    namespace: dict = {}
    promised = []
    printed = []
    for block in blocks:
        for line in block.splitlines():
            if match := re.match(r"print\(.*\)  # -> (.*)$", line):
                promised.append(match[1])
        exec(compile(block, str(README), "exec"), namespace)
        printed += capsys.readouterr().out.splitlines()
    assert len(promised) >= 6
    rest = iter(printed)
    for line in promised:
        assert line in rest, f"{line!r} was not printed, or not in this order"
    assert (tmp_path / "loss.svg").is_file()


def test_links_lead_somewhere():
    text = README.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (README.parent / target).exists(), target


def test_makefile_has_the_commands():
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    for command in re.findall(r"^make (\w+)$", README.read_text(), re.M):
        assert re.search(rf"^{command}:", makefile, re.M)
