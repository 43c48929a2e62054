"""The README is true: its examples run, and every setting stands in it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from adapter.mapping.loader import load
from adapter.settings import Settings, SourceSettings, packaged, parse_settings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


def test_the_smallest_configuration_is_one() -> None:
    (text,) = [block for block in BLOCKS if block.startswith("ledger:")]
    settings = parse_settings(text, ROOT / "config" / "baton.yaml")
    assert settings.sources[0].write_back


def test_the_example_mapping_has_no_fault(tmp_path: Path) -> None:
    (text,) = [block for block in BLOCKS if "mapping: interpreter" in block]
    folder = tmp_path / "mappings"
    shutil.copytree(packaged("mappings"), folder)
    (folder / "interpreter.yaml").write_text(text, encoding="utf-8")
    edition = load(folder, codes=packaged("config") / "codes")
    rule = edition.rule("book-interpreter")
    assert rule is not None and rule.resource == "Appointment"


def test_every_setting_is_told() -> None:
    for name in (*Settings.model_fields, *SourceSettings.model_fields):
        if name != "sources":
            assert f"`{name}`" in README, f"the setting {name} is missing from the README"
