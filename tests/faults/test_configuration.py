"""A wrong configuration: every fault at once, with file, line, column and remedy; exit code 2, nothing touched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.hospital import Hospital

WRONG = """\
ledgr: ledger.db
sources:
  - name: one
    base_url: ftp://ehr.example/fhir
    intervall: 5m
    timezone: Europe/Paaris
    write_back: perhaps
    limits: {retries: many}
    token_env: BATON_NO_SUCH_SECRET
  - name: two
    base_url: https://user:pass@ehr.example/fhir
    token_file: no-such-file
    role: payer
"""
FOUND = {
    1: "ledgr",
    4: "base_url",
    5: "intervall",
    6: "timezone",
    7: "write_back",
    8: "retries",
    9: "BATON_NO_SUCH_SECRET",
    11: "base_url",
    12: "token_file",
    13: "role",
}
VERBS = [["sync"], ["check"], ["tasks"], ["status"], ["quarantine", "list"], ["ledger", "check"]]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_fault_is_told_at_once_with_its_line(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, verb: list[str]
) -> None:
    monkeypatch.delenv("BATON_NO_SUCH_SECRET", raising=False)
    hospital.config.write_text(WRONG, encoding="utf-8")
    told = hospital.baton(*verb)
    lines = dict(re.findall(r"baton\.yaml:(\d+):\d+: (.*)", told.err))
    assert (told.code, told.out) == (2, "")
    secrets = {9, 12} if verb[0] in ("quarantine", "ledger", "status") else set()  # these ask no server
    assert {int(line) for line in lines} == FOUND.keys() - secrets
    for line, key in FOUND.items():
        if line not in secrets:
            assert key in lines[str(line)] and " → " in lines[str(line)], lines[str(line)]
    assert "user:pass" not in told.err
    assert not hospital.ledger.exists() and not hospital.front.asked
    if verb == ["sync"]:
        hospital.configure()
        hospital.ends_right()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("sources: [\n", "baton.yaml:2:1: "),
        ("", "baton.yaml"),
        ("- a\n- b\n", "baton.yaml"),
        ("sources: []\n", "baton.yaml"),
        ("sources: nothing\n", "baton.yaml:1:"),
        ("sources:\n  - name: a\n    name: b\n    base_url: http://x/fhir\n", "baton.yaml:3:"),
        ("sources:\n\t- name: a\n", "baton.yaml:2:"),
        ("sources: &a\n  - *a\n", "baton.yaml"),
        ("a: " + "[" * 50_000 + "\n", "baton.yaml"),
        ("x: \0\n", "baton.yaml"),
    ],
    ids=["open", "empty", "list", "no-source", "text", "twice", "tab", "circle", "deep", "nul"],
)
def test_what_is_no_configuration_is_told_with_its_place(hospital: Hospital, text: str, place: str) -> None:
    hospital.config.write_text(text, encoding="utf-8")
    told = hospital.baton("sync", "--json")
    assert (told.code, told.out) == (2, "") and place in told.err and " → " in told.err, told.err
    assert not hospital.ledger.exists()


def test_a_file_that_is_no_text_or_not_there_is_told(hospital: Hospital) -> None:
    hospital.config.write_bytes(b"sources: \xff\xfe\x00")
    told = hospital.baton("sync")
    assert told.code == 2 and "baton.yaml" in told.err and " → " in told.err
    told = hospital.baton("sync", config=hospital.folder / "nowhere.yaml")
    assert told.code == 2 and "nowhere.yaml" in told.err and " → " in told.err
    hospital.config.unlink()
    hospital.config.mkdir()
    told = hospital.baton("sync")
    assert told.code == 2 and "baton.yaml" in told.err and " → " in told.err


def test_a_secret_that_is_none_is_told_and_never_shown(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    for secret in ("", "geheim\nX-Other: 1", "geheimé"):
        monkeypatch.setenv("BATON_SECRET", secret)
        hospital.configure(token_env="BATON_SECRET")
        told = hospital.baton("sync", "--json")
        assert told.code == 2 and " → " in told.err, told
        assert "geheim" not in told.out + told.err
        assert "BATON_SECRET" in told.err or "token" in told.err
    assert not hospital.front.asked, "nothing was sent with half a secret"
    monkeypatch.setenv("BATON_SECRET", "right")
    hospital.ends_right()


def test_a_certificate_file_that_is_not_there_or_is_none(hospital: Hospital, tmp_path: Path) -> None:
    for name, content in (("nowhere.pem", None), ("text.pem", b"no certificate")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        hospital.configure(ca_file=str(tmp_path / name))
        told = hospital.baton("sync", "--json")
        assert told.code == 2 and "ca_file" in told.err and " → " in told.err, told
