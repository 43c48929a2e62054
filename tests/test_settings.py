"""The configuration: what is read, and how every fault is told at once with its place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from adapter import settings
from adapter.errors import Fault, SettingsError
from adapter.settings import SourceSettings, parse_settings

SMALLEST = """
ledger: var/ledger.db
sources:
  - name: ehr
    base_url: https://ehr.example/fhir/
    write_back: false
"""


def read(text: str, **environ: str) -> settings.Settings:
    return parse_settings(text, Path("/srv/baton/config/baton.yaml"), environ=environ)


def faults(text: str, **environ: str) -> list[Fault]:
    with pytest.raises(SettingsError) as caught:
        read(text, **environ)
    return list(caught.value.faults)


def with_source(lines: str) -> str:
    return SMALLEST + "\n".join(f"    {line}" for line in lines.strip().splitlines()) + "\n"


def only(text: str, **environ: str) -> Fault:
    found = faults(text, **environ)
    assert len(found) == 1, [str(one) for one in found]
    return found[0]


def test_the_smallest_configuration_works() -> None:
    found = read(SMALLEST)
    source = found.sources[0]
    assert found.ledger == Path("/srv/baton/var/ledger.db")
    assert source.base_url == "https://ehr.example/fhir"
    assert (source.environment, source.write_back, source.page_size) == ("production", False, 100)
    assert (source.interval, source.overlap) == (timedelta(minutes=5), timedelta(seconds=150))
    assert source.zone == ZoneInfo("UTC")
    assert any("timezone" in note for note in found.notes())
    assert any("namespace" in note for note in found.notes())


def test_all_faults_are_told_at_once_with_line_and_column() -> None:
    text = """
ledger: var/ledger.db
leger: x
sources:
  - name: ehr
    base_url: ehr.example/fhir
    writeback: true
    timezone: Amerika/New_York
    interval: soon
    references: both
    token_env: NO_SUCH_TOKEN
"""
    found = {fault.key: fault for fault in faults(text)}
    assert set(found) == {
        "leger",
        "sources[0].base_url",
        "sources[0].writeback",
        "sources[0].timezone",
        "sources[0].interval",
        "sources[0].references",
        "sources[0].token_env",
    }
    assert (found["leger"].line, found["leger"].column) == (3, 1)
    assert found["leger"].remedy == "did you mean `ledger`?"
    assert found["sources[0].writeback"].remedy == "did you mean `write_back`?"
    assert (found["sources[0].base_url"].line, found["sources[0].base_url"].column) == (6, 15)
    assert "America/New_York" in found["sources[0].timezone"].message
    assert found["sources[0].token_env"].line == 11
    assert "baton.yaml" in str(found["leger"])


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("ftp://ehr.example", "http"),
        ("https://", "host"),
        ("https://me:secret@ehr.example/fhir", "password"),
        ("https://ehr.example/fhir?tenant=1", "before ?"),
        ("'https://ehr.example:port/fhir'", "no URL"),
    ],
)
def test_a_bad_url_is_refused_and_not_shown_with_its_password(url: str, part: str) -> None:
    fault = only(SMALLEST.replace("https://ehr.example/fhir/", url))
    assert part in fault.message
    assert "secret" not in str(fault)


def test_two_sources_of_one_name_or_one_ehr_are_refused() -> None:
    second = """
  - {name: ehr, base_url: "https://other.example/fhir"}
  - {name: third, base_url: "HTTPS://EHR.example:443/fhir"}
"""
    found = {fault.key: fault.message for fault in faults(SMALLEST.rstrip() + second)}
    assert "name" in found["sources[1].name"]
    assert "same base URL" in found["sources[2].base_url"]


def test_one_url_with_two_tenants_is_two_ehrs() -> None:
    second = '\n  - {name: b, base_url: "https://ehr.example/fhir", headers: {X-Tenant-ID: two}}\n'
    assert len(read(SMALLEST.rstrip() + second).sources) == 2


def test_a_secret_comes_from_the_environment_or_a_file_never_from_the_yaml(tmp_path: Path) -> None:
    assert "token_env" in only(with_source("headers: {Authorization: Bearer abc}")).message
    source = read(with_source("token_env: EHR_TOKEN"), EHR_TOKEN="t1").sources[0]
    credential = source.credential({"EHR_TOKEN": "t1"})
    assert credential is not None
    assert credential() == "t1"
    assert only(with_source("token_env: EHR_TOKEN"), EHR_TOKEN=" ").key == "sources[0].token_env"
    assert only(with_source("token_file: var/none")).key == "sources[0].token_file"
    both = only(with_source("token_env: EHR_TOKEN\ntoken_file: /etc/hostname"), EHR_TOKEN="t")
    assert "exclude" in both.message


def test_missing_secrets_can_be_left_aside() -> None:
    text = with_source("token_env: NOT_SET")
    assert parse_settings(text, Path("c.yaml"), environ={}, secrets=False).sources[0].token_env == "NOT_SET"


def test_relative_paths_start_at_the_project(tmp_path: Path) -> None:
    (tmp_path / "config" / "codes").mkdir(parents=True)
    file = tmp_path / "config" / "baton.yaml"
    file.write_text(with_source("ca_file: var/ca.pem"))
    found = settings.load(file, environ={}, secrets=False)
    assert found.ledger == tmp_path / "var/ledger.db"
    assert found.codes == tmp_path / "config" / "codes"
    assert found.sources[0].ca_file == tmp_path / "var/ca.pem"
    assert found.file == file


def test_the_file_is_found_by_argument_variable_or_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="baton init"):
        settings.find_file(environ={})
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "baton.yaml").write_text(SMALLEST)
    other = tmp_path / "other.yaml"
    other.write_text(SMALLEST)
    assert settings.find_file(environ={}) == Path("config/baton.yaml")
    assert settings.find_file(environ={"BATON_CONFIG": str(other)}) == other
    assert settings.find_file("x.yaml" if (tmp_path / "x.yaml").exists() else other, environ={}) == other


def test_what_does_not_parse_is_told_with_its_place() -> None:
    fault = only("sources:\n  - name: [ehr\n")
    assert fault.line > 0
    assert only("").message
    assert "sources" in only("ledger: x\n").key


def test_searches_and_beginnings_by_type_or_for_all() -> None:
    source = read(with_source('search: "category=referral"\nsince: 2026-01-01')).sources[0]
    assert source.filters(["A", "B"]) == {
        "A": (("category", "referral"),),
        "B": (("category", "referral"),),
    }
    assert source.bounds(["A"]) == {"A": datetime(2026, 1, 1, tzinfo=UTC)}
    source = read(with_source("search: {Task: a=b&c=d}\nsince: {Task: 2026-01-01T08:00:00Z}")).sources[0]
    assert source.filters(["A"]) == {"Task": (("a", "b"), ("c", "d"))}
    assert source.bounds(["A"]) == {"Task": datetime(2026, 1, 1, 8, tzinfo=UTC)}


@pytest.mark.parametrize("search", ["_lastUpdated=gt2020", "a", "patient.name=x", "_has:Task:x=y"])
def test_a_search_that_would_break_the_poll_is_refused(search: str) -> None:
    assert only(with_source(f'search: "{search}"')).key.startswith("sources[0].search")


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("role: payer", "sources[0].role"),
        ("page_size: 0", "sources[0].page_size"),
        ("overlap: 0s", "sources[0].overlap"),
        ("types: {DocumentReference: some}", "sources[0].types.DocumentReference"),
        ("limits: {callsperminute: 3}", "sources[0].limits.callsperminute"),
        ("roles: {lead: somebody}", "sources[0].roles.lead"),
        ("calendar: {country: US}", "sources[0]"),
        ("calendar: {holidays: Atlantis}", "sources[0]"),
        ("enabled: [r]\ndisabled: [r]", "sources[0]"),
        ("write_back: maybe", "sources[0].write_back"),
    ],
)
def test_faults_of_a_source(lines: str, key: str) -> None:
    text = with_source(lines)
    if lines.startswith("write_back"):
        text = SMALLEST.replace("write_back: false", lines)
    assert only(text).key == key


def test_a_namespace_is_letters_digits_hyphens_and_dots() -> None:
    assert read(SMALLEST + "namespace: a1.b-2\n").namespace == "a1.b-2"
    assert only(SMALLEST + 'namespace: "a b"\n').key == "namespace"


def test_source_facts_merge_what_is_said_for_all_and_for_one() -> None:
    text = with_source(
        """
timezone: America/New_York
parameters: {referral: {lead: 5}}
codes: {order-kind: {"urn:x|A": imaging}}
completed_means: performed
roles: {coordinator: Organization/1}
live_from: {rule-a: 2026-03-01}
disabled: [confirm-visit]
calendar: {holidays: US}
"""
    )
    found = read(text + "parameters: {referral: {lead: 3, open_after: 2 days}}\nevidence: {max_age: 30m}\n")
    codes = {
        "": {"order-kind": {"urn:x|A": "referral", "urn:x|B": "referral"}},
        "ehr": {"setting": {"urn:x|W": "inpatient"}},
    }
    go_live = datetime(2026, 2, 1, tzinfo=UTC)
    facts = found.source_facts(found.sources[0], "key1", codes=codes, live_from=go_live)
    assert facts.parameters == {"referral": {"lead": 5, "open_after": "2 days"}}
    assert facts.codes["order-kind"] == {"urn:x|A": "imaging", "urn:x|B": "referral"}
    assert facts.codes["setting"] == {"urn:x|W": "inpatient"}
    assert (facts.key, facts.completed_means, facts.evidence_max_age_s) == ("key1", "performed", 1800)
    assert facts.live_from == go_live
    assert facts.live_from_rules == {"rule-a": datetime(2026, 3, 1, tzinfo=UTC)}
    assert facts.live_over == 20
    assert facts.disabled == {"confirm-visit"}
    assert facts.zone == ZoneInfo("America/New_York")


def test_settings_without_a_file() -> None:
    found = settings.defaults("http://127.0.0.1:8080/fhir", environment="test", write_back=True)
    assert found.sources[0].name == "ehr"
    assert found.source_facts(found.sources[0], "key1").live_over == 0  # testers see all at once
    with pytest.raises(SettingsError):
        settings.defaults("nonsense")


def test_the_template_is_a_configuration_and_names_every_setting(tmp_path: Path) -> None:
    text = settings.template("n1", "https://ehr.example/fhir")
    found = read(text)
    assert (found.namespace, found.sources[0].base_url) == ("n1", "https://ehr.example/fhir")
    for name in (*settings.Settings.model_fields, *SourceSettings.model_fields):
        if name != "role":
            assert f"{name}:" in text, name


def test_every_example_in_the_template_is_valid() -> None:
    """Each commented setting, switched on by itself."""
    lines = settings.template("n1", "https://ehr.example/fhir").splitlines()
    for number, line in enumerate(lines):
        bare = line.replace("# ", "", 1) if line.lstrip().startswith("# ") else ""
        name = bare.strip().partition(":")[0]
        if name in SourceSettings.model_fields and bare.startswith("    ") and "calendar" not in name:
            text = "\n".join([*lines[:number], bare, *lines[number + 1 :]])
            parse_settings(text, Path("config/baton.yaml"), environ={}, secrets=False)


def test_packaged_folders_are_found_in_a_checkout() -> None:
    assert settings.packaged("config").is_dir()
    with pytest.raises(SettingsError):
        settings.packaged("nothing")
